// A page of file:// may read no other page, so there the search shows titles without a passage.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
