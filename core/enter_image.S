/* The helper program, byte for byte, as read-only data of the core module: core/launch.c copies it into a sealed memfd. */
    .section .rodata
    .balign 16
    .globl ctx_enter_image
    .globl ctx_enter_image_end
    .hidden ctx_enter_image
    .hidden ctx_enter_image_end
ctx_enter_image:
    .incbin CTX_ENTER_IMAGE
ctx_enter_image_end:
    .section .note.GNU-stack,"",%progbits
