//! Tests in a real guest that QEMU boots.
