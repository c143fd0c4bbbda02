// y = a * x + y on the GPU; Python calls it in saxpy.py.
#include <cuda_runtime.h>

namespace {

__global__ void kernel(int n, float a, const float* x, float* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

}  // namespace

// x and y are n numbers in the memory of the host. Returns a cudaError_t, 0 when all is well.
extern "C" int saxpy(int n, float a, const float* x, float* y) {
    if (n == 0) return cudaSuccess;
    const size_t bytes = n * sizeof(float);
    float *device_x = nullptr, *device_y = nullptr;
    cudaError_t error = cudaMalloc(&device_x, bytes);
    if (error == cudaSuccess) error = cudaMalloc(&device_y, bytes);
    if (error == cudaSuccess) error = cudaMemcpy(device_x, x, bytes, cudaMemcpyHostToDevice);
    if (error == cudaSuccess) error = cudaMemcpy(device_y, y, bytes, cudaMemcpyHostToDevice);
    if (error == cudaSuccess) {
        kernel<<<(n + 255) / 256, 256>>>(n, a, device_x, device_y);
        error = cudaGetLastError();
    }
    if (error == cudaSuccess) error = cudaMemcpy(y, device_y, bytes, cudaMemcpyDeviceToHost);
    cudaFree(device_x);
    cudaFree(device_y);
    return error;
}

extern "C" const char* saxpy_error(int error) {
    return cudaGetErrorString(static_cast<cudaError_t>(error));
}
