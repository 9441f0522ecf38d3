//! From a core module to a plugin: encodes the component, puts the manifest
//! where a reader finds it without looking into modules, and refuses a
//! component that wants anything but the plugin contract. Bytes in, bytes out.

use anyhow::{Context, Result, bail};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

/// The custom section that holds a plugin's `plugin.toml`.
pub const MANIFEST_SECTION: &str = "vdeploy:manifest";

/// What every import of a plugin begins with.
pub const CONTRACT: &str = "vdeploy:plugin/";

/// Encodes a core module as a validated component. The manifest is taken from
/// the module, or is `manifest` when the module has none, and stands as a
/// custom section of the component itself.
///
/// # Errors
/// When the module was not made against a WIT world, has no manifest, or
/// imports anything outside of [`CONTRACT`].
pub fn encode(core: &[u8], manifest: Option<&[u8]>) -> Result<Vec<u8>> {
    let embedded = custom_section(core, MANIFEST_SECTION)?;
    let manifest = embedded.or(manifest).with_context(|| {
        format!(
            "no manifest: the module has no section `{MANIFEST_SECTION}` and the crate no plugin.toml"
        )
    })?;
    let mut component = ComponentEncoder::default()
        .validate(true)
        .module(core)
        .context("not a module of a plugin: is it built with the SDK or wit-bindgen?")?
        .encode()
        .context("the module cannot be encoded as a component")?;
    append_custom_section(&mut component, MANIFEST_SECTION, manifest)?;
    let foreign: Vec<String> = imports(&component)?
        .into_iter()
        .filter(|import| !import.starts_with(CONTRACT))
        .collect();
    if !foreign.is_empty() {
        bail!(
            "imports {}, but a plugin may import only {CONTRACT}*: \
             find the dependency that needs it, or build for wasm32-unknown-unknown",
            foreign.join(", ")
        );
    }
    Ok(component)
}

/// What a component imports, in its order.
///
/// # Errors
/// When the bytes are not a component.
pub fn imports(component: &[u8]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.context("not a WebAssembly file")? {
            Payload::Version { encoding, .. } if depth == 0 && encoding != Encoding::Component => {
                bail!("a core module, not a component");
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    found.push(import.context("not a component")?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The contents of a custom section of a module or a component itself, not of
/// what is nested in it.
///
/// # Errors
/// When the bytes are not WebAssembly.
pub fn custom_section<'a>(wasm: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.context("not a WebAssembly file")? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == name => {
                return Ok(Some(section.data()));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Adds a custom section at the end: id 0, size, name, contents.
pub(crate) fn append_custom_section(wasm: &mut Vec<u8>, name: &str, contents: &[u8]) -> Result<()> {
    let mut body = Vec::with_capacity(name.len() + contents.len() + 5);
    write_length(&mut body, name.len())?;
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(contents);
    append_section(wasm, 0, &body)
}

/// Adds a section of any kind at the end: id, size, contents.
pub(crate) fn append_section(wasm: &mut Vec<u8>, id: u8, body: &[u8]) -> Result<()> {
    wasm.push(id);
    write_length(wasm, body.len())?;
    wasm.extend_from_slice(body);
    Ok(())
}

/// Writes a length as an unsigned LEB128 of 32 bits.
pub(crate) fn write_length(out: &mut Vec<u8>, length: usize) -> Result<()> {
    let mut rest = u32::try_from(length).context("a section of more than 4 GiB")?;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return Ok(());
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
    use wit_parser::{ManglingAndAbi, Resolve};

    const SMALL: &str = "
        package vdeploy:plugin@1.0.0;
        interface clock { now: func() -> u64; }
        interface step { run: func() -> string; }
        world step-plugin { import clock; export step; }";

    /// A core module of the world that `wit` names `world`.
    fn core_module(wit: &str, world: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_source("test.wit", wit).unwrap();
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        module
    }

    #[test]
    fn the_manifest_of_the_module_stands_in_the_component_itself() {
        let mut core = core_module(SMALL, "step-plugin");
        // Longer than one LEB128 byte can say.
        let manifest = format!("name = \"smoke\"\n# {}\n", "x".repeat(300));
        append_custom_section(&mut core, MANIFEST_SECTION, manifest.as_bytes()).unwrap();
        let component = encode(&core, Some(b"other")).unwrap();
        assert_eq!(
            custom_section(&component, MANIFEST_SECTION).unwrap(),
            Some(manifest.as_bytes())
        );
        assert_eq!(imports(&component).unwrap(), ["vdeploy:plugin/clock@1.0.0"]);
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
            .validate_all(&component)
            .unwrap();
    }

    #[test]
    fn the_manifest_file_is_used_when_the_module_has_none() {
        let core = core_module(SMALL, "step-plugin");
        let component = encode(&core, Some(b"name = \"a\"")).unwrap();
        assert_eq!(
            custom_section(&component, MANIFEST_SECTION).unwrap(),
            Some(b"name = \"a\"".as_slice())
        );
    }

    #[test]
    fn a_plugin_without_a_manifest_is_refused() {
        let error = encode(&core_module(SMALL, "step-plugin"), None).unwrap_err();
        assert!(error.to_string().contains("plugin.toml"), "{error}");
    }

    #[test]
    fn an_import_outside_of_the_contract_is_refused_by_name() {
        let wit = "package other:thing@0.1.0;
            interface sockets { open: func() -> u32; }
            world step-plugin { import sockets; }";
        let error = encode(&core_module(wit, "step-plugin"), Some(b"")).unwrap_err();
        assert!(
            error.to_string().contains("other:thing/sockets@0.1.0"),
            "{error}"
        );
    }

    #[test]
    fn a_module_that_is_no_plugin_is_refused() {
        let empty_module = b"\0asm\x01\0\0\0".as_slice();
        assert!(imports(empty_module).is_err());
        assert!(imports(b"not wasm").is_err());
        assert!(custom_section(b"not wasm", "x").is_err());
    }
}
