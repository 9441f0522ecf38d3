//! Programs that start other programs: whoever may run one of them can do
//! anything that the login user can. Pure.
//!
//! Not counted are programs that start what a file of their directory names,
//! as git, npm and cargo do: the sentence of a scope says that the plugin
//! chooses the directory.

use super::glob;

/// Shells, interpreters, and programs that run what their arguments, their
/// input or a variable names. By file name.
const STARTERS: &[&str] = &[
    // Shells, and boxes that have one.
    "ash",
    "bash",
    "busybox",
    "csh",
    "dash",
    "elvish",
    "fish",
    "ksh",
    "mksh",
    "nu",
    "pwsh",
    "rbash",
    "sh",
    "tcsh",
    "toybox",
    "yash",
    "zsh", //
    // Interpreters; a version may follow.
    "Rscript",
    "awk",
    "bun",
    "deno",
    "ed",
    "elixir",
    "emacs",
    "erl",
    "ex",
    "expect",
    "gawk",
    "gdb",
    "groovy",
    "guile",
    "irb",
    "java",
    "jshell",
    "julia",
    "lua",
    "luajit",
    "m4",
    "mawk",
    "nawk",
    "node",
    "nodejs",
    "nvim",
    "ocaml",
    "perl",
    "php",
    "pypy",
    "python",
    "ruby",
    "scala",
    "sed",
    "tclsh",
    "ts-node",
    "tsx",
    "vi",
    "vim", //
    // Programs that start what their arguments name.
    "bunx",
    "capsh",
    "chroot",
    "chrt",
    "corepack",
    "doas",
    "docker",
    "env",
    "find",
    "flock",
    "ionice",
    "kubectl",
    "ld.so",
    "nerdctl",
    "nice",
    "nohup",
    "npx",
    "nsenter",
    "parallel",
    "pipx",
    "pkexec",
    "podman",
    "rsync",
    "run-parts",
    "runuser",
    "scp",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "sftp",
    "ssh",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "unshare",
    "uv",
    "uvx",
    "watch",
    "xargs", //
    // Programs that write any file, or start what their input or a variable names.
    "aws",
    "bundle",
    "cp",
    "curl",
    "dc",
    "dd",
    "gem",
    "go",
    "gradle",
    "install",
    "less",
    "ln",
    "luarocks",
    "man",
    "mv",
    "mvn",
    "mysql",
    "patch",
    "psql",
    "rake",
    "sort",
    "sqlite3",
    "tee",
    "wget",
    "ansible",
    "at",
    "batch",
    "crontab",
    "gmake",
    "make",
    "tar",
];

/// Whether the program that a word of a scope names can be one that starts
/// other programs. A path counts by its file name.
pub(crate) fn may_start_others(word: &str) -> bool {
    let file = word.rsplit('/').next().unwrap_or(word);
    if file.contains('*') {
        return STARTERS.iter().any(|name| glob::matches(file, name));
    }
    // `python3.12` and `lua5.4` are what `python` and `lua` are.
    let unversioned = file.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    STARTERS.contains(&file) || STARTERS.contains(&unversioned)
}

#[cfg(test)]
mod tests {
    use super::may_start_others;

    #[test]
    fn shells_interpreters_and_starters_are_known_by_their_file_name() {
        for word in [
            "sh",
            "/bin/sh",
            "/opt/x/bash",
            "python3",
            "python3.12",
            "node",
            "*",
            "/usr/bin/*",
            "py*",
            "*sh",
            "lua5.4",
            "find",
            "tar",
            "xargs",
            "perl5.36.0",
        ] {
            assert!(may_start_others(word), "{word}");
        }
        for word in [
            "npm",
            "git",
            "cat",
            "df",
            "test",
            "/opt/app/migrate",
            "my-tool-*",
            "kill",
        ] {
            assert!(!may_start_others(word), "{word}");
        }
    }
}
