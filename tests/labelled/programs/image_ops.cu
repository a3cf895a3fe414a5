// Image operations: a copy, a blur, colours to grey, tiles.
#include <cuda_runtime.h>
#include <stdio.h>

#define gpuErrchk(ans) { gpuAssert((ans), __FILE__, __LINE__); }
inline void gpuAssert(cudaError_t code, const char *file, int line, bool abort = true) {
    if (code != cudaSuccess) {
        fprintf(stderr, "GPUassert: %s %s %d\n", cudaGetErrorString(code), file, line);
        if (abort) exit(code);
    }
}

__global__ void rgba_to_grey(const uchar4 *const rgba, unsigned char *const grey, int rows, int cols) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= cols || y >= rows) return;
    const uchar4 p = rgba[y * cols + x];  // either: CUK001 a vector type, of four bytes
    grey[y * cols + x] = 0.299f * p.x + 0.587f * p.y + 0.114f * p.z;  // either: CUK001 one byte a thread
}

__global__ void copy_rows(float *odata, const float *idata, int width, int height) {
    int x = blockIdx.x * 32 + threadIdx.x;
    int y = blockIdx.y * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (x < width && y + j < height) odata[(y + j) * width + x] = idata[(y + j) * width + x];  // expect: CUK001
}

__global__ void transpose_tile(float *odata, const float *idata, int width, int height) {
    __shared__ float tile[32][33];
    int x = blockIdx.x * 32 + threadIdx.x;
    int y = blockIdx.y * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (x < width && y + j < height) tile[threadIdx.y + j][threadIdx.x] = idata[(y + j) * width + x];  // either: CUK001 a tile's rows are contiguous, the transposition is not
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x;
    y = blockIdx.x * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (x < height && y + j < width) odata[(y + j) * height + x] = tile[threadIdx.x][threadIdx.y + j];
}

__global__ void sample_bilinear(const float *src, const float2 *coords, float *dst, int width, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float2 c = coords[i];
    int x = (int)c.x, y = (int)c.y;
    float fx = c.x - x, fy = c.y - y;
    float top = src[y * width + x] * (1 - fx) + src[y * width + x + 1] * fx;  // either: CUK001 gathers, and one coalesced store
    float bottom = src[(y + 1) * width + x] * (1 - fx) + src[(y + 1) * width + x + 1] * fx;
    dst[i] = top * (1 - fy) + bottom * fy;  // either: CUK001 gathers, and one coalesced store
}

__global__ void swap_columns(float *m, int n, int a, int b) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < n) {
        float t = m[row * n + a];  // silent: CUK001 a column
        m[row * n + a] = m[row * n + b];
        m[row * n + b] = t;
    }
}

__constant__ float kernel_weights[9];

__global__ void window_from_texture(cudaTextureObject_t texture, float2 *out, int width) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    float s = 0.0f, w = 0.0f;
    for (int k = 0; k < 9; ++k) {
        float t = tex2D<float>(texture, x + k % 3 - 1, y + k / 3 - 1);
        s += kernel_weights[k] * t;
        w += kernel_weights[k];
    }
    if (x < width) out[y * width + x] = make_float2(s, w);  // silent: CUK001 float2
}

void to_grey(const uchar4 *rgba, unsigned char *grey, size_t rows, size_t cols) {
    const dim3 block(16, 16);
    const dim3 grid((cols + 15) / 16, (rows + 15) / 16);
    rgba_to_grey<<<grid, block>>>(rgba, grey, rows, cols);  // silent: CUK007 checked below
    cudaDeviceSynchronize();
    gpuErrchk(cudaGetLastError());
}

void transpose(float *odata, const float *idata, int width, int height, int repeat) {
    const dim3 grid((width + 31) / 32, (height + 31) / 32), block(32, 8);
    for (int i = 0; i < repeat; ++i) {
        copy_rows<<<grid, block>>>(odata, idata, width, height);  // silent: CUK007 checked after the loop
        transpose_tile<<<grid, block>>>(odata, idata, width, height);  // silent: CUK007 checked after the loop
    }
    gpuErrchk(cudaPeekAtLastError());
}

void swap(float *m, int n, int a, int b) {
    swap_columns<<<(n + 255) / 256, 256>>>(m, n, a, b);  // expect: CUK007
    cudaDeviceSynchronize();
}

float *smooth(cudaTextureObject_t texture, float2 *out, int width, int height) {
    window_from_texture<<<dim3((width + 127) / 128, height), 128>>>(texture, out, width);  // expect: CUK007
    cudaStreamSynchronize(0);
    return &out[0].x;
}

void sample(const float *src, const float2 *coords, float *dst, int width, int n) {
    sample_bilinear<<<(n + 255) / 256, 256>>>(src, coords, dst, width, n);  // silent: CUK007 the text <<<1, 1>>> below is only text
    gpuErrchk(cudaGetLastError());
    printf("sampled as sample_bilinear<<<1, 1>>>() would\n");  // silent: CUK007 text in a string
}
