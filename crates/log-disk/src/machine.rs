//! Which start of the machine this is.

/// A number for this start of the machine; 0 when it cannot be told. Files that were not synced are only complete within one.
pub(crate) fn boot_number() -> u64 {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (front, back) = id.split_at(id.len() / 2);
    u64::from(crc32c::crc32c(front)) << 32 | u64::from(crc32c::crc32c(back))
}
