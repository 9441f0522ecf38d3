//! Compiles in a process of its own. The input decides how much time and memory
//! a compiler takes, so untrusted bytes are compiled where the system enforces
//! limits: vdeploy starts itself with the argument [`ARGUMENT`], reads WASM from
//! standard input and writes code to standard output.

use crate::load::features;
use crate::load::native::Code;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The first argument of a vdeploy that only compiles.
pub const ARGUMENT: &str = "__compile";
/// Largest code that is taken, in bytes.
const MAX_CODE: u64 = 512 << 20;
/// The exit code of a compiler that prints the reason of its refusal.
const REFUSED: u8 = 3;
/// Threads that compile at once. Each may take its own share of the memory.
const THREADS: &str = "4";
/// Signs of a compiler that hit its memory limit: in an allocation, in a system
/// call, or on the start of a thread.
const NO_MEMORY: [&str; 4] = [
    "memory allocation of",
    "out of memory",
    "(os error 12)",
    "(os error 11)",
];
/// Most output of a compiler that is kept, in bytes.
const MAX_WORDS: u64 = 4 << 10;

/// The compiler process: program and limits.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// A vdeploy.
    pub program: PathBuf,
    /// CPU time, in seconds.
    pub cpu_seconds: u64,
    /// Address space, in bytes.
    pub memory: u64,
    /// Wall clock, for an overloaded machine.
    pub patience: Duration,
}

impl Compiler {
    /// With the limits of the contract.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            cpu_seconds: 60,
            memory: 2 << 30,
            patience: Duration::from_secs(600),
        }
    }

    /// Compiles. The error is a fragment for a person.
    pub fn compile(&self, wasm: &[u8]) -> Result<Code, String> {
        let mut child = self.start()?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the compiler has no pipes".to_owned());
        };
        let code = read_apart(stdout, MAX_CODE + 1);
        let words = read_apart(stderr, MAX_WORDS);
        let until = Instant::now() + self.patience;
        std::thread::scope(|scope| {
            // A compiler that exits early does not read all of it.
            scope.spawn(move || drop({ stdin }.write_all(wasm)));
            let code = code.recv_timeout(until.saturating_duration_since(Instant::now()));
            if code.is_err() {
                // It may have exited meanwhile.
                let _ = child.kill();
            }
            let ended = child.wait().map_err(|e| format!("the compiler: {e}"))?;
            let Ok(code) = code else {
                return Err(format!(
                    "it takes more than {} s to compile",
                    self.patience.as_secs()
                ));
            };
            let words = words.recv().unwrap_or_default();
            self.result(ended, code, &String::from_utf8_lossy(&words))
        })
    }

    fn start(&self) -> Result<Child, String> {
        Command::new(&self.program)
            .arg(ARGUMENT)
            .arg(self.cpu_seconds.to_string())
            .arg(self.memory.to_string())
            // No secret of the environment, and the same memory on a machine of
            // any size.
            .env_clear()
            .env("RAYON_NUM_THREADS", THREADS)
            .env("MALLOC_ARENA_MAX", THREADS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| {
                format!(
                    "the compiler cannot be started: {}: {e}",
                    self.program.display()
                )
            })
    }

    fn result(&self, ended: ExitStatus, code: Vec<u8>, words: &str) -> Result<Code, String> {
        use std::os::unix::process::ExitStatusExt as _;
        if u64::try_from(code.len()).unwrap_or(u64::MAX) > MAX_CODE {
            return Err(format!("its code is larger than {} MiB", MAX_CODE >> 20));
        }
        if ended.success() {
            return Ok(Code::compiled(code));
        }
        if ended.signal() == Some(Signal::XCPU.as_raw()) {
            return Err(format!(
                "it takes more than {} s of CPU time to compile",
                self.cpu_seconds
            ));
        }
        let refused = ended.code() == Some(i32::from(REFUSED));
        let said = match refused {
            true => String::from_utf8_lossy(&code).into_owned(),
            false => words.to_owned(),
        };
        if NO_MEMORY.iter().any(|words| said.contains(words)) {
            return Err(format!(
                "it takes more than {} MiB of memory to compile",
                self.memory >> 20
            ));
        }
        if refused {
            return Err(said);
        }
        let first = said.lines().next().unwrap_or_default();
        Err(format!("it cannot be compiled: {ended}: {first}"))
    }
}

/// Reads to the end, or to `most` bytes, on a thread of its own.
fn read_apart(pipe: impl Read + Send + 'static, most: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // The compiler's exit status tells of an early end.
        let _ = pipe.take(most).read_to_end(&mut bytes);
        // The receiver is gone: the compiler was terminated.
        let _ = sender.send(bytes);
    });
    receiver
}

pub(crate) fn compile_here(engine: &wasmtime::Engine, wasm: &[u8]) -> Result<Code, String> {
    engine
        .precompile_component(wasm)
        .map(Code::compiled)
        .map_err(|error| format!("{error:#}"))
}

/// What a vdeploy that only compiles does: it limits itself, reads WASM, writes
/// code. Returns the exit code.
pub fn child(
    arguments: impl Iterator<Item = OsString>,
    input: impl Read,
    mut output: impl Write,
) -> u8 {
    let answer = match compile_within(arguments, input) {
        Ok(code) => output.write_all(code.bytes()).map(|()| 0),
        Err(why) => output.write_all(why.as_bytes()).map(|()| REFUSED),
    };
    match answer.and_then(|code| output.flush().map(|()| code)) {
        Ok(code) => code,
        // The reader is gone.
        Err(_) => REFUSED + 1,
    }
}

fn compile_within(
    mut arguments: impl Iterator<Item = OsString>,
    input: impl Read,
) -> Result<Code, String> {
    let mut number = || {
        let text = arguments.next().and_then(|text| text.into_string().ok());
        let number = text.and_then(|text| text.parse::<u64>().ok());
        number.ok_or_else(|| format!("`{ARGUMENT}` is for vdeploy itself"))
    };
    let (seconds, memory) = (number()?, number()?);
    for (resource, most) in [
        (Resource::Cpu, seconds),
        (Resource::As, memory),
        (Resource::Core, 0),
    ] {
        limit(resource, most).map_err(|e| format!("the compiler cannot be limited: {e}"))?;
    }
    end_with_parent();
    let mut wasm = Vec::new();
    input
        .take(crate::MAX_FILE + 1)
        .read_to_end(&mut wasm)
        .map_err(|e| format!("the compiler cannot read: {e}"))?;
    let engine = wasmtime::Engine::new(&features::config()).map_err(|e| format!("{e:#}"))?;
    compile_here(&engine, &wasm)
}

/// Never above what the process may have already. CPU time has a warning (which
/// ends it, too) and an end a second later.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let hard = getrlimit(resource).maximum;
    let within = |most: u64| Some(hard.map_or(most, |hard| hard.min(most)));
    let extra = u64::from(resource == Resource::Cpu);
    let new = Rlimit {
        current: within(most),
        maximum: within(most + extra),
    };
    setrlimit(resource, new)
}

/// Terminates the compiler when its parent process is gone.
fn end_with_parent() {
    #[cfg(target_os = "linux")]
    {
        // On failure the CPU limit terminates it.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    }
}
