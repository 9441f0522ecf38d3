//! The memory of one call: all its memories, tables and instances together.

use crate::load::bounds::{INSTANCE_ROOM, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use wasmtime::{ResourceLimiter, Result};

/// What one element of a table takes, in bytes.
const ELEMENT: usize = size_of::<usize>();

/// Adds up what the guest takes; remembers that the limit was hit.
#[derive(Debug)]
pub struct Limiter {
    pub(crate) most: usize,
    pub(crate) memory_hit: bool,
    used: usize,
    /// The last allowed growth: it can still fail.
    last: usize,
    instances: usize,
}

impl Limiter {
    /// For a component whose largest instance takes `instance` bytes in the
    /// host. What all its instances may take counts from the beginning.
    pub(crate) fn new(most: usize, instance: usize) -> Self {
        let instances = (INSTANCE_ROOM / instance.max(1)).clamp(1, MAX_INSTANCES);
        Self {
            most,
            memory_hit: false,
            used: instances.saturating_mul(instance),
            last: 0,
            instances,
        }
    }

    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Option<usize> {
        self.last = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return None;
        }
        Some(desired.saturating_sub(current))
    }

    fn take(&mut self, bytes: usize) -> Result<bool> {
        let used = self.used.saturating_add(bytes);
        if used > self.most {
            self.memory_hit = true;
            return Err(wasmtime::format_err!(
                "the memory limit of {} MiB",
                self.most >> 20
            ));
        }
        self.used = used;
        self.last = bytes;
        Ok(true)
    }

    fn give_back(&mut self) {
        self.used = self.used.saturating_sub(std::mem::take(&mut self.last));
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, now: usize, desired: usize, max: Option<usize>) -> Result<bool> {
        match self.grow(now, desired, max) {
            Some(more) => self.take(more),
            None => Ok(false),
        }
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(&mut self, now: usize, desired: usize, max: Option<usize>) -> Result<bool> {
        match self.grow(now, desired, max) {
            Some(more) => self.take(more.saturating_mul(ELEMENT)),
            None => Ok(false),
        }
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.give_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn memories_tables_and_instances_count_together() {
        let mut limiter = Limiter::new(4 * MIB, MIB / MAX_INSTANCES);
        assert!(limiter.memory_growing(0, MIB, None).unwrap());
        assert!(limiter.table_growing(0, MIB / ELEMENT, None).unwrap());
        assert!(limiter.memory_growing(MIB, 2 * MIB, None).unwrap());
        assert!(!limiter.memory_hit);
        assert!(limiter.table_growing(0, 1, None).is_err());
        assert!(limiter.memory_hit);
    }

    #[test]
    fn what_could_not_grow_is_not_counted() {
        let mut limiter = Limiter::new(2 * MIB, 0);
        assert!(!limiter.memory_growing(0, 2 * MIB, Some(MIB)).unwrap());
        for _ in 0..3 {
            assert!(limiter.memory_growing(0, 2 * MIB, None).unwrap());
            limiter
                .memory_grow_failed(wasmtime::format_err!("no room"))
                .unwrap();
        }
        assert!(limiter.memory_growing(0, 2 * MIB, None).unwrap());
        assert!(limiter.memory_growing(0, 1, None).is_err());
    }

    #[test]
    fn large_instances_are_few() {
        assert_eq!(Limiter::new(MIB, 0).instances(), MAX_INSTANCES);
        assert_eq!(Limiter::new(MIB, INSTANCE_ROOM / 2).instances(), 2);
        assert_eq!(Limiter::new(MIB, INSTANCE_ROOM).instances(), 1);
    }
}
