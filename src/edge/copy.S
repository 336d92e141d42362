// What the compiler calls to copy and to fill memory: AAPCS64, in general registers, never an access that is not aligned to its
// size, so also where memory is Device because the MMU is off. They take the place of compiler-builtins' own, which are weak
// and go eight bytes at a time.

    .text

// Copies memory that does not overlap. In: x0 = to, x1 = from, x2 = bytes. Out: x0 as it was. Clobbers x1-x11.
    .global memcpy
    .type memcpy, %function
memcpy:
    mov     x3, x0
    cmp     x2, #16
    b.lo    6f
1:  tst     x3, #7                  // up to the next eight bytes
    b.eq    2f
    ldrb    w4, [x1], #1
    strb    w4, [x3], #1
    sub     x2, x2, #1
    b       1b
2:  ands    x4, x1, #7
    b.ne    8f
    subs    x2, x2, #128
    b.lo    4f
3:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    stp     x8, x9, [x3, #32]
    stp     x10, x11, [x3, #48]
    ldp     x4, x5, [x1, #64]
    ldp     x6, x7, [x1, #80]
    ldp     x8, x9, [x1, #96]
    ldp     x10, x11, [x1, #112]
    add     x1, x1, #128
    stp     x4, x5, [x3, #64]
    stp     x6, x7, [x3, #80]
    stp     x8, x9, [x3, #96]
    stp     x10, x11, [x3, #112]
    add     x3, x3, #128
    subs    x2, x2, #128
    b.hs    3b
4:  tbz     x2, #6, 5f              // the lower bits are still how many are left
    ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    add     x1, x1, #64
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    stp     x8, x9, [x3, #32]
    stp     x10, x11, [x3, #48]
    add     x3, x3, #64
5:  tbz     x2, #5, 5f
    ldp     x4, x5, [x1], #16
    ldp     x6, x7, [x1], #16
    stp     x4, x5, [x3], #16
    stp     x6, x7, [x3], #16
5:  tbz     x2, #4, 5f
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
5:  tbz     x2, #3, 5f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
5:  and     x2, x2, #7
6:  cbz     x2, 7f
    ldrb    w4, [x1], #1
    strb    w4, [x3], #1
    sub     x2, x2, #1
    b       6b
7:  ret
// The two lie differently within eight bytes: what is written is the end of one word and the beginning of the next.
8:  lsl     x4, x4, #3              // bits of the first word that come before
    neg     x5, x4
    and     x1, x1, #~7
    ldr     x6, [x1], #8
    subs    x2, x2, #16
    b.lo    10f
9:  ldp     x7, x8, [x1], #16
    lsr     x6, x6, x4
    lsl     x9, x7, x5
    orr     x6, x6, x9
    lsr     x7, x7, x4
    lsl     x9, x8, x5
    orr     x7, x7, x9
    stp     x6, x7, [x3], #16
    mov     x6, x8
    subs    x2, x2, #16
    b.hs    9b
10: tbz     x2, #3, 11f             // the lower bits are still how many are left
    ldr     x7, [x1], #8
    lsr     x6, x6, x4
    lsl     x9, x7, x5
    orr     x6, x6, x9
    str     x6, [x3], #8
11: and     x2, x2, #7
    sub     x1, x1, #8
    add     x1, x1, x4, lsr #3
    b       6b
    .size memcpy, . - memcpy

// Copies memory that may overlap. In: x0 = to, x1 = from, x2 = bytes. Out: x0 as it was. Clobbers x1-x11.
    .global memmove
    .type memmove, %function
memmove:
    sub     x3, x0, x1              // memcpy stores nothing it has yet to load where the copy lies below, or past the end
    cmp     x3, x2
    b.hs    memcpy
    add     x3, x0, x2              // else from the end
    add     x1, x1, x2
    orr     x4, x3, x1
    tst     x4, #7
    b.ne    3f
1:  subs    x2, x2, #16
    b.lo    2f
    ldp     x4, x5, [x1, #-16]!
    stp     x4, x5, [x3, #-16]!
    b       1b
2:  and     x2, x2, #15             // how many are left
    tbz     x2, #3, 3f
    ldr     x4, [x1, #-8]!
    str     x4, [x3, #-8]!
    sub     x2, x2, #8
3:  cbz     x2, 4f
    ldrb    w4, [x1, #-1]!
    strb    w4, [x3, #-1]!
    sub     x2, x2, #1
    b       3b
4:  ret
    .size memmove, . - memmove

// Fills memory with a byte. In: x0 = at, w1 = byte, x2 = bytes. Out: x0 as it was. Clobbers x1-x4.
    .global memset
    .type memset, %function
memset:
    mov     x3, x0
    and     x1, x1, #0xff
    mov     x4, #0x0101010101010101
    mul     x1, x1, x4
    cmp     x2, #16
    b.lo    6f
1:  tst     x3, #7                  // up to the next eight bytes
    b.eq    2f
    strb    w1, [x3], #1
    sub     x2, x2, #1
    b       1b
2:  subs    x2, x2, #128
    b.lo    4f
3:  stp     x1, x1, [x3]
    stp     x1, x1, [x3, #16]
    stp     x1, x1, [x3, #32]
    stp     x1, x1, [x3, #48]
    stp     x1, x1, [x3, #64]
    stp     x1, x1, [x3, #80]
    stp     x1, x1, [x3, #96]
    stp     x1, x1, [x3, #112]
    add     x3, x3, #128
    subs    x2, x2, #128
    b.hs    3b
4:  tbz     x2, #6, 5f              // the lower bits are still how many are left
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
5:  tbz     x2, #5, 5f
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
5:  tbz     x2, #4, 5f
    stp     x1, x1, [x3], #16
5:  tbz     x2, #3, 5f
    str     x1, [x3], #8
5:  and     x2, x2, #7
6:  cbz     x2, 7f
    strb    w1, [x3], #1
    sub     x2, x2, #1
    b       6b
7:  ret
    .size memset, . - memset
