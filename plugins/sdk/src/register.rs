//! The macros that make a crate a plugin.

/// Exports a [`crate::Step`] as the step of this crate and embeds `plugin.toml`,
/// which is next to `Cargo.toml`. Call it once, at the top level of the crate.
#[macro_export]
macro_rules! register_step {
    ($step:ty) => {
        const _: () = {
            const fn is_step<T: $crate::Step>() {}
            is_step::<$step>();
        };

        $crate::__export_step!($step);
    };
}

/// As [`register_step!`], for a type that also implements [`crate::Undo`].
#[macro_export]
macro_rules! register_undoable_step {
    ($step:ty) => {
        const _: () = {
            const fn is_undoable_step<T: $crate::Undo>() {}
            is_undoable_step::<$step>();
        };

        $crate::__export_step!($step);
        $crate::__export_undo!($step);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_step {
    ($step:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            struct Exported;

            impl $crate::export::StepGuest for Exported {
                fn check() -> Result<(), $crate::export::WitError> {
                    $crate::export::check::<$step>()
                }

                fn run() -> Result<String, $crate::export::WitError> {
                    $crate::export::run::<$step>()
                }
            }

    $crate::export::export_step!(Exported with_types_in $crate::export::step_world);

            const BYTES: &[u8] =
                include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml"));

            #[used]
            #[unsafe(link_section = "vdeploy:manifest")]
            static MANIFEST: [u8; BYTES.len()] =
                *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml"));
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_undo {
    ($step:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            struct Exported;

            impl $crate::export::UndoGuest for Exported {
                fn undo(output: Option<String>) -> Result<(), $crate::export::WitError> {
                    $crate::export::undo::<$step>(output)
                }
            }

    $crate::export::export_undo!(Exported with_types_in $crate::export::undo_world);
        };
    };
}
