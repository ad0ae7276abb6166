# The Linux/x86 boot header: how boot loaders that know nothing of this guest start it.
#
# Source: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". The 32-bit entry
# lies at the start of the code, the 64-bit entry 0x200 bytes on. There is no real-mode code.

        .section .setup, "a"
        .code16
setup:
        hlt                             # a BIOS finds nothing here
        jmp     setup
        .org    0x1f1
        .byte   1                       # setup_sects: one after the first
        .word   0                       # root_flags
        .long   syssize                 # of 16 bytes
        .word   0, 0, 0                 # ram_size, vid_mode, root_dev
        .word   0xaa55                  # boot_flag
        .byte   0xeb, 0x66              # jump: the header ends 0x66 bytes on
        .ascii  "HdrS"
        .word   0x020f                  # version
        .long   0                       # realmode_swtch
        .word   0, 0                    # start_sys_seg, kernel_version
        .byte   0, 1                    # type_of_loader, loadflags: LOADED_HIGH
        .word   0                       # setup_move_size
        .long   0x100000                # code32_start
        .long   0, 0, 0                 # ramdisk_image, ramdisk_size, bootsect_kludge
        .word   0, 0                    # heap_end_ptr, ext_loader
        .long   0                       # cmd_line_ptr
        .long   0x7fffffff              # initrd_addr_max
        .long   0x1000                  # kernel_alignment
        .byte   0, 12                   # relocatable_kernel: no; min_alignment
        .word   1                       # xloadflags: XLF_KERNEL_64
        .long   2047                    # cmdline_size
        .long   0                       # hardware_subarch
        .quad   0                       # hardware_subarch_data
        .long   0, 0                    # payload_offset, payload_length
        .quad   0                       # setup_data
        .quad   0x100000                # pref_address
        .long   image_size              # init_size
        .long   0                       # handover_offset
        .org    0x400

