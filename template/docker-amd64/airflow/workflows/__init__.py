"""What DAGs of this project import beside airflow.sdk."""
