/* Structures are the host's own: nothing is relocated. */
#pragma once

#define bpf_core_field_offset(type, field)         offsetof(type, field)
#define bpf_core_field_exists(field)               1
#define bpf_core_read(to, len, from)               bpf_probe_read_kernel(to, len, (const void *)(from))
#define BPF_CORE_READ_BITFIELD_PROBED(from, field) ((from)->field)
