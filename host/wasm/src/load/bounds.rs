//! How large a plugin and its parts may be. What is compiled, described and
//! instantiated takes time and memory of the host by these numbers, and a plugin
//! that is built from a program stays far below them.

use wasmparser::{ElementItems, ElementKind, Payload};

/// Bytes of a plugin's file.
pub const MAX_FILE: u64 = 64 << 20;
/// Bytes of one function. The compiler takes about 1 KiB for each.
const MAX_BODY: usize = 512 << 10;
/// Functions of all modules together.
const MAX_FUNCTIONS: usize = 100_000;
/// Types of all modules and components together.
const MAX_TYPES: usize = 50_000;
/// Modules and components inside the component.
const MAX_PARTS: usize = 256;
/// Nesting depth of components.
const MAX_DEPTH: usize = 16;

/// Core instances of one call.
pub const MAX_INSTANCES: usize = 32;
/// Memories of one call.
pub const MAX_MEMORIES: usize = 8;
/// Tables of one call.
pub const MAX_TABLES: usize = 32;
/// Bytes that all instances of one call may take in the host, besides their
/// memories and tables.
pub const INSTANCE_ROOM: usize = 16 << 20;

/// What an instance takes for each function, global and passive element, in
/// bytes: no less than wasmtime's own records of them.
const FUNCTION: usize = 32;
const GLOBAL: usize = 16;
const PASSIVE: usize = 16;
/// The same for an empty instance.
const INSTANCE: usize = 1 << 10;

/// Counts the parts of a component while it is read.
#[derive(Debug, Default)]
pub struct Bounds {
    depth: usize,
    parts: usize,
    functions: usize,
    types: usize,
    /// Of the module that is being read.
    instance: usize,
    /// Of the module with the largest.
    largest: usize,
}

impl Bounds {
    /// Counts the next part. The error is a fragment that names the excess.
    pub fn add(&mut self, payload: &Payload<'_>) -> Result<(), String> {
        match payload {
            Payload::Version { .. } => self.instance = INSTANCE,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.depth += 1;
                within(self.depth, MAX_DEPTH, "components inside of one another")?;
                self.parts += 1;
                within(self.parts, MAX_PARTS, "modules and components")?;
            }
            Payload::End(_) => {
                self.largest = self.largest.max(self.instance);
                within(self.largest, INSTANCE_ROOM, "bytes for an instance")?;
                // Back in the enclosing component.
                self.instance = 0;
                self.depth = self.depth.saturating_sub(1);
            }
            Payload::TypeSection(section) => self.types(section.count())?,
            Payload::CoreTypeSection(section) => self.types(section.count())?,
            Payload::ComponentTypeSection(section) => self.types(section.count())?,
            Payload::ImportSection(section) => self.instance(section.count(), FUNCTION)?,
            Payload::GlobalSection(section) => self.instance(section.count(), GLOBAL)?,
            Payload::FunctionSection(section) => {
                self.functions = self.functions.saturating_add(number(section.count()));
                within(self.functions, MAX_FUNCTIONS, "functions")?;
                self.instance(section.count(), FUNCTION)?;
            }
            Payload::CodeSectionEntry(body) => {
                within(body.range().len(), MAX_BODY, "bytes in one function")?;
            }
            Payload::ElementSection(section) => {
                for element in section.clone() {
                    // The validator reports what is malformed.
                    let Ok(element) = element else { break };
                    if matches!(element.kind, ElementKind::Passive) {
                        let count = match &element.items {
                            ElementItems::Functions(items) => items.count(),
                            ElementItems::Expressions(_, items) => items.count(),
                        };
                        self.instance(count, PASSIVE)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the largest of its instances takes in the host, in bytes.
    pub fn instance_bytes(&self) -> usize {
        self.largest
    }

    fn types(&mut self, count: u32) -> Result<(), String> {
        self.types = self.types.saturating_add(number(count));
        within(self.types, MAX_TYPES, "types")
    }

    fn instance(&mut self, count: u32, each: usize) -> Result<(), String> {
        let more = number(count).saturating_mul(each);
        self.instance = self.instance.saturating_add(more);
        within(self.instance, INSTANCE_ROOM, "bytes for an instance")
    }
}

fn number(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn within(found: usize, most: usize, what: &str) -> Result<(), String> {
    if found <= most {
        return Ok(());
    }
    Err(format!(
        "it has {found} {what}, and a plugin has at most {most}"
    ))
}
