// y = a * x + y; Python calls it in saxpy.py.

// x and y are n numbers. Returns 0.
extern "C" int saxpy(int n, float a, const float* x, float* y) {
    for (int i = 0; i < n; ++i) y[i] = a * x[i] + y[i];
    return 0;
}
