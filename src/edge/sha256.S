// SHA-256 by the Armv8 instructions (Arm ARM C7, SHA256H and its kin).

    .text
    .arch_extension fp
    .arch_extension simd
    .arch_extension sha2

// Four rounds with the message words \w and the constants \k; the state is v2 (A to D) and v3 (E to H).
.macro rounds w, k
    add     v6.4s, \w\().4s, \k\().4s
    mov     v7.16b, v2.16b
    sha256h q2, q3, v6.4s
    sha256h2 q3, q7, v6.4s
.endm

// The same, and then \w becomes the sixteenth next words, from itself and the twelve after it.
.macro rounds_and_extend w, k, w1, w2, w3
    rounds  \w, \k
    sha256su0 \w\().4s, \w1\().4s
    sha256su1 \w\().4s, \w2\().4s, \w3\().4s
.endm

// Takes blocks into the state. In: x0 = state, eight words; x1 = blocks; x2 = how many, not 0. Clobbers x0-x3,
// v0-v9 and v16-v31.
    .global sha256_blocks
sha256_blocks:
    adrp    x3, sha256_constants
    add     x3, x3, :lo12:sha256_constants
    ld1     {{v16.4s-v19.4s}}, [x3], #64
    ld1     {{v20.4s-v23.4s}}, [x3], #64
    ld1     {{v24.4s-v27.4s}}, [x3], #64
    ld1     {{v28.4s-v31.4s}}, [x3]
    ld1     {{v0.4s-v1.4s}}, [x0]
1:  ld1     {{v4.16b}}, [x1], #16
    ld1     {{v5.16b}}, [x1], #16
    ld1     {{v8.16b}}, [x1], #16
    ld1     {{v9.16b}}, [x1], #16
    rev32   v4.16b, v4.16b
    rev32   v5.16b, v5.16b
    rev32   v8.16b, v8.16b
    rev32   v9.16b, v9.16b
    mov     v2.16b, v0.16b
    mov     v3.16b, v1.16b
    rounds_and_extend v4, v16, v5, v8, v9
    rounds_and_extend v5, v17, v8, v9, v4
    rounds_and_extend v8, v18, v9, v4, v5
    rounds_and_extend v9, v19, v4, v5, v8
    rounds_and_extend v4, v20, v5, v8, v9
    rounds_and_extend v5, v21, v8, v9, v4
    rounds_and_extend v8, v22, v9, v4, v5
    rounds_and_extend v9, v23, v4, v5, v8
    rounds_and_extend v4, v24, v5, v8, v9
    rounds_and_extend v5, v25, v8, v9, v4
    rounds_and_extend v8, v26, v9, v4, v5
    rounds_and_extend v9, v27, v4, v5, v8
    rounds  v4, v28
    rounds  v5, v29
    rounds  v8, v30
    rounds  v9, v31
    add     v0.4s, v0.4s, v2.4s
    add     v1.4s, v1.4s, v3.4s
    subs    x2, x2, #1
    b.ne    1b
    st1     {{v0.4s-v1.4s}}, [x0]
    ret

    .section .rodata.sha256, "a"
    .balign 16
// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
sha256_constants:
    .word   0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5
    .word   0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174
    .word   0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da
    .word   0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967
    .word   0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85
    .word   0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070
    .word   0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3
    .word   0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
    .text
    .arch_extension nosha2
    .arch_extension nosimd
    .arch_extension nofp
