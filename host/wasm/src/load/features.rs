//! What a plugin's WASM may be made of: one set for the engine that runs it and
//! for the reader that describes it, so that both refuse the same.

use wasmparser::WasmFeatures;
use wasmtime::Config;

/// WASM 2.0 with tail calls and constant expressions, in a component. Left out
/// is what multiplies memory (several memories, 64 bits, garbage collection),
/// what is not deterministic (relaxed SIMD, threads), and what the contract has
/// no use for (async, exceptions, stack switching).
pub const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES);

/// Stack of the guest's own functions, in bytes.
const GUEST_STACK: usize = 512 << 10;
/// The same with what the host's functions need on top of it.
const WHOLE_STACK: usize = 2 << 20;

/// The configuration of every engine: the one that runs plugins, and the one
/// that only compiles them.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_features(FEATURES.complement(), false)
        .wasm_features(FEATURES, true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(WHOLE_STACK)
        .epoch_interruption(true);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_multiplies_memory_or_is_not_deterministic_is_off() {
        for off in [
            WasmFeatures::MULTI_MEMORY,
            WasmFeatures::MEMORY64,
            WasmFeatures::CUSTOM_PAGE_SIZES,
            WasmFeatures::GC,
            WasmFeatures::GC_TYPES,
            WasmFeatures::THREADS,
            WasmFeatures::RELAXED_SIMD,
            WasmFeatures::EXCEPTIONS,
            WasmFeatures::STACK_SWITCHING,
            WasmFeatures::CM_ASYNC,
            WasmFeatures::CM64,
        ] {
            assert!(!FEATURES.intersects(off), "{off:?}");
        }
        assert!(FEATURES.contains(WasmFeatures::SIMD | WasmFeatures::BULK_MEMORY));
        assert!(wasmtime::Engine::new(&config()).is_ok());
    }
}
