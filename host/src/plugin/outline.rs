//! What a component's bytes say at their outermost level: manifest, imports,
//! exports. Read without compiling and without believing anything else.

use super::manifest::SECTION;
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind,
    ComponentType, ComponentTypeRef, Encoding, InstanceTypeDeclaration, Parser, Payload,
};

/// One import of a component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// For example `vdeploy:plugin/ssh@1.0.0`.
    pub name: String,
    /// Whether there is anything to call. An instance without functions is
    /// there for its types only and gives no power: a plugin that sends plain
    /// requests imports `secrets` for the type of a header it never sets.
    pub calls: bool,
}

/// The outermost level of a component.
#[derive(Debug, Default)]
pub struct Outline {
    /// The text of the embedded manifest, if there is one.
    pub manifest: Option<Vec<u8>>,
    /// In their order.
    pub imports: Vec<Import>,
    /// Names, in their order.
    pub exports: Vec<String>,
}

impl Outline {
    /// Reads `bytes`; the error says what they are instead.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut outline = Self::default();
        // The component's type index space; what is no instance type with
        // functions only takes a number.
        let mut types: Vec<bool> = Vec::new();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(broken)?;
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } => {
                    return Err("it is a core WASM module, not a component; build it with \
                                `cargo xtask plugin-build` or `wasm-tools component new`"
                        .to_owned());
                }
                Payload::ComponentTypeSection(section) => {
                    for ty in section {
                        types.push(has_functions(&ty.map_err(broken)?));
                    }
                }
                Payload::ComponentAliasSection(section) => {
                    for alias in section {
                        if is_type(&alias.map_err(broken)?) {
                            types.push(false);
                        }
                    }
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        let import = import.map_err(broken)?;
                        outline.imports.push(Import {
                            name: import.name.name.to_owned(),
                            calls: calls(import.ty, &types),
                        });
                        if matches!(import.ty, ComponentTypeRef::Type(_)) {
                            types.push(false);
                        }
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        let export = export.map_err(broken)?;
                        outline.exports.push(export.name.name.to_owned());
                        if export.kind == ComponentExternalKind::Type {
                            types.push(false);
                        }
                    }
                }
                Payload::CustomSection(section)
                    if section.name() == SECTION && outline.manifest.is_none() =>
                {
                    outline.manifest = Some(section.data().to_vec());
                }
                _ => {}
            }
        }
        Ok(outline)
    }
}

fn broken(error: BinaryReaderError) -> String {
    format!("it is no valid WASM: {error}")
}

fn has_functions(ty: &ComponentType<'_>) -> bool {
    let ComponentType::Instance(declarations) = ty else {
        return false;
    };
    declarations.iter().any(|declaration| {
        matches!(
            declaration,
            InstanceTypeDeclaration::Export {
                ty: ComponentTypeRef::Func(_)
                    | ComponentTypeRef::Instance(_)
                    | ComponentTypeRef::Component(_)
                    | ComponentTypeRef::Module(_),
                ..
            }
        )
    })
}

/// Only a type, and an instance that is known to have no function, give
/// nothing to call.
fn calls(ty: ComponentTypeRef, types: &[bool]) -> bool {
    match ty {
        ComponentTypeRef::Type(_) => false,
        ComponentTypeRef::Instance(index) => usize::try_from(index)
            .ok()
            .and_then(|index| types.get(index).copied())
            .unwrap_or(true),
        _ => true,
    }
}

fn is_type(alias: &ComponentAlias<'_>) -> bool {
    matches!(
        alias,
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Type,
            ..
        } | ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::Type,
            ..
        }
    )
}
