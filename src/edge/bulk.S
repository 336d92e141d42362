// Work on much memory, in V registers: for a core whose vCPU is not started.

    .text
    .arch_extension fp
    .arch_extension simd

// Whether memory is zero. In: x0 = address, x1 = bytes, a multiple of 64 and not 0. Out: x0 = 0 if all bytes are zero, else
// not 0. Clobbers x0-x2 and v0-v4.
    .global is_not_zero
is_not_zero:
    movi    v4.2d, #0
1:  ld1     {{v0.2d-v3.2d}}, [x0], #64
    orr     v0.16b, v0.16b, v1.16b
    orr     v2.16b, v2.16b, v3.16b
    orr     v4.16b, v4.16b, v0.16b
    orr     v4.16b, v4.16b, v2.16b
    subs    x1, x1, #64
    b.ne    1b
    umaxv   b4, v4.16b
    umov    w0, v4.b[0]
    ret

// Copies memory of any alignment. In: x0 = to, x1 = from, x2 = bytes, a multiple of 64 and not 0. Clobbers x0-x2 and v0-v3.
    .global copy_blocks
copy_blocks:
1:  ld1     {{v0.16b-v3.16b}}, [x1], #64
    st1     {{v0.16b-v3.16b}}, [x0], #64
    subs    x2, x2, #64
    b.ne    1b
    ret

// Zeroes memory. In: x0 = address, a multiple of 16, x1 = bytes, a multiple of 256 and not 0. Clobbers x0, x1 and v0.
    .global zero_blocks
zero_blocks:
    movi    v0.2d, #0
1:  .rept 8
    stp     q0, q0, [x0], #32
    .endr
    subs    x1, x1, #256
    b.ne    1b
    ret
    .arch_extension nosimd
    .arch_extension nofp
