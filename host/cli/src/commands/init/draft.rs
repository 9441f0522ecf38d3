//! The text of a new project file, with what a reader of it wants to know in
//! comments. Pure.

use super::detect::Detected;
use std::fmt::Write as _;
use vdeploy_core::clean;

/// Where it is to deploy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Vers {
        vm: Option<String>,
        vm_env: Option<String>,
        more: More,
    },
    Ssh {
        host: String,
        more: More,
    },
    Local {
        dir: Option<String>,
        vm: Option<String>,
    },
}

/// What targets with SSH may have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct More {
    pub host_key: Option<String>,
    pub user: Option<String>,
    pub url: Option<String>,
}

impl More {
    fn write(&self, out: &mut String, default_key: &str) {
        let key = self.host_key.as_deref().unwrap_or(default_key);
        let _ = writeln!(out, "host-key = {}", string(key));
        for (name, value) in [("user", &self.user), ("url", &self.url)] {
            if let Some(value) = value {
                let _ = writeln!(out, "{name} = {}", string(value));
            }
        }
    }
}

impl Target {
    /// Its name in the file.
    fn name(&self) -> &'static str {
        match self {
            Self::Vers { .. } => "infra",
            Self::Ssh { .. } => "server",
            Self::Local { .. } => "local",
        }
    }
}

/// All that the file says.
#[derive(Debug)]
pub struct Draft<'s> {
    pub target: Target,
    pub app_dir: String,
    pub reference: String,
    pub detected: &'s Detected,
}

impl Draft<'_> {
    /// The whole file, with a plan that extends the built-in one.
    pub fn text(&self) -> String {
        let mut out = self.head();
        self.plan(&mut out);
        out
    }

    /// Targets and secrets.
    pub fn head(&self) -> String {
        let mut out = String::from(
            "# What vdeploy deploys, and where. The built-in project lies beneath this file:\n\
             # `vdeploy plan show default` prints the plan that it changes.\n\
             # `vdeploy doctor` says what would stop a run, and what to do.\n\n",
        );
        let name = self.target.name();
        match &self.target {
            Target::Vers { vm, vm_env, more } => {
                let _ = writeln!(out, "# A VM of the Vers platform.\n[targets.{name}]");
                let _ = writeln!(out, "type = \"vers\"");
                match (vm, vm_env) {
                    (Some(vm), _) => {
                        let _ = writeln!(out, "vm = {}", string(vm));
                    }
                    (None, variable) => {
                        let variable = variable.as_deref().unwrap_or("VDEPLOY_VM");
                        let _ = writeln!(
                            out,
                            "# The VM's id is in this environment variable; or write vm = \"VM_ID\"."
                        );
                        let _ = writeln!(out, "vm-env = {}", string(variable));
                    }
                }
                let _ = writeln!(
                    out,
                    "# \"first-use\" pins the key that the first run sees. Better is the fingerprint\n\
                     # \"SHA256:…\" that this prints on the VM: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
                );
                more.write(&mut out, "first-use");
            }
            Target::Ssh { host, more } => {
                let _ = writeln!(
                    out,
                    "# Any server: a name, an address, or an alias of your ~/.ssh/config, which is read.\n[targets.{name}]"
                );
                let _ = writeln!(out, "type = \"ssh\"\nhost = {}", string(host));
                let _ = writeln!(
                    out,
                    "# \"known-hosts\" takes what ssh takes; or a fingerprint \"SHA256:…\"; or \"first-use\"."
                );
                more.write(&mut out, "known-hosts");
                if more.url.is_none() {
                    let _ = writeln!(
                        out,
                        "# Where the service is reached from outside; without it nothing is tested from there.\n\
                         # url = \"https://{host}\""
                    );
                }
            }
            Target::Local { dir, vm } => {
                let _ = writeln!(
                    out,
                    "# A VM on this machine: `vdeploy local up --detach` starts it.\n[targets.{name}]"
                );
                let _ = writeln!(out, "type = \"local\"");
                if let Some(dir) = dir {
                    let _ = writeln!(out, "dir = {}", string(dir));
                }
                if let Some(vm) = vm {
                    let _ = writeln!(out, "vm = {}", string(vm));
                }
            }
        }
        self.secrets(&mut out);
        out
    }

    fn secrets(&self, out: &mut String) {
        let needed = match &self.target {
            Target::Vers { .. } => {
                "# Two secrets are needed: the key of the Vers account (VERS_API_KEY) and the token\n\
                 # that the service asks for (VERS_AUTH_TOKEN). They come from the environment, or\n\
                 # from a file or a command, for example:"
            }
            Target::Local { .. } | Target::Ssh { .. } => {
                "# One secret is needed: the token that the service asks for (VERS_AUTH_TOKEN). It\n\
                 # comes from the environment, or from a file or a command, for example:"
            }
        };
        let _ = writeln!(
            out,
            "\n{needed}\n#\n# [secrets.auth-token]\n# command = [\"pass\", \"show\", \"infra/auth-token\"]"
        );
    }

    fn plan(&self, out: &mut String) {
        let known = self.detected.is_known_service();
        let _ = writeln!(
            out,
            "\n# The built-in plan with your settings. A setting of a step is an entry with its id;\n\
             # `before`, `after` and `replaces` put steps of your own in."
        );
        let base = match self.archives() {
            true => {
                let _ = writeln!(
                    out,
                    "# No platform takes snapshots of a server: this one keeps an archive there."
                );
                "default-ssh"
            }
            false => "default",
        };
        let _ = writeln!(out, "[plans.default]\nextends = \"{base}\"");
        if !known {
            let _ = writeln!(
                out,
                "# Feed, ledger and registry are of one service; leave this out where yours has them.\n\
                 drop = [\"announce\"]"
            );
        }
        let _ = writeln!(
            out,
            "\n# `app-dir` is the checkout on the target: absolute, or relative to the login directory."
        );
        if let Some(remote) = &self.detected.remote {
            let _ = writeln!(
                out,
                "# It must be there: git clone {remote} {}",
                self.app_dir
            );
        }
        let dir = string(&self.app_dir);
        let place = format!("app-dir = {dir}, ref = {}", string(&self.reference));
        for step in ["preflight", "git-pull"] {
            settings(out, step, &format!("{{ {place} }}"));
        }
        let entry = self
            .detected
            .package
            .as_ref()
            .and_then(|package| package.entry());
        let build = match entry {
            Some((_, file)) => format!("{{ app-dir = {dir}, entry = {} }}", string(file)),
            None => format!("{{ app-dir = {dir} }}"),
        };
        if self
            .detected
            .package
            .as_ref()
            .is_some_and(|package| !package.builds)
        {
            let _ = writeln!(
                out,
                "\n# package.json has no script `build`: say with `build` what makes the artifacts."
            );
        }
        settings(out, "npm-build", &build);
        if !known {
            self.other_service(out, entry.map(|(start, _)| start));
        } else if let Some((start, _)) = entry {
            settings(out, "restart", &format!("{{ start = {} }}", string(start)));
        }
    }

    /// Whether the snapshot is an archive that a plugin keeps.
    fn archives(&self) -> bool {
        matches!(&self.target, Target::Ssh { .. })
    }

    /// The defaults of the built-in steps are those of one service.
    fn other_service(&self, out: &mut String, start: Option<&str>) {
        let _ = writeln!(
            out,
            "\n# What the service prints when its port is open goes into `ready-line`; empty, only\n\
             # the port counts. `open-warning` is what it prints when it lets everybody in."
        );
        let start = start.map_or(String::new(), |start| {
            format!("start = {}, ", string(start))
        });
        let quiet = "ready-line = \"\", open-warning = \"\"";
        settings(out, "restart", &format!("{{ {start}{quiet} }}"));
        if !self.archives() {
            settings(out, "snapshot", "{ ledger = false }");
        }
        let _ = writeln!(
            out,
            "\n# What is asked after a deploy. For each endpoint: with the token, without and with a\n\
             # wrong one. For example: endpoints = [{{ path = \"/items\", expect = \"{{items: array}}\" }}]"
        );
        settings(
            out,
            "smoke",
            "{ health = \"/health\", health-expect = \"any\", endpoints = [], open-warning = \"\" }",
        );
        let _ = writeln!(out, "\n# The rollback starts the service in the same way.");
        let rollback = format!("{{ {start}{quiet} }}");
        entry_of(out, "rollback", "rollback", &rollback);
        entry_of(
            out,
            "rollback",
            "smoke-after-rollback",
            "{ health = \"/health\", health-expect = \"any\", endpoints = [], open-warning = \"\" }",
        );
    }

    /// What was written, and what comes next.
    pub fn said(&self, file: &str) -> String {
        let mut out = format!(
            "wrote {file}: target {}, plan default, {} of {}\n",
            self.target.name(),
            clean::line(&self.reference),
            clean::line(&self.app_dir)
        );
        let needed: &[&str] = match &self.target {
            Target::Vers {
                vm: None,
                vm_env: None,
                ..
            } => &["VERS_API_KEY", "VERS_AUTH_TOKEN", "VDEPLOY_VM"],
            Target::Vers { .. } => &["VERS_API_KEY", "VERS_AUTH_TOKEN"],
            Target::Local { .. } | Target::Ssh { .. } => &["VERS_AUTH_TOKEN"],
        };
        let unset: Vec<&str> = needed
            .iter()
            .filter(|name| self.detected.unset.contains(name))
            .copied()
            .collect();
        if !unset.is_empty() {
            let _ = writeln!(out, "not set yet: {}", unset.join(", "));
        }
        out.push_str("next:\n");
        if matches!(&self.target, Target::Local { dir: None, .. }) && !self.detected.local_cloud {
            out.push_str("  vdeploy local up --detach   start the VM\n");
        }
        out.push_str(
            "  vdeploy doctor              what would stop a run, and what to do\n  \
             vdeploy run --dry-run       every change, shown and not made\n  \
             vdeploy run                 deploy, verify, go back on failure",
        );
        out
    }
}

fn settings(out: &mut String, step: &str, config: &str) {
    entry_of(out, "step", step, config);
}

fn entry_of(out: &mut String, list: &str, step: &str, config: &str) {
    let _ = writeln!(
        out,
        "\n[[plans.default.{list}]]\nid = \"{step}\"\nconfig = {config}"
    );
}

fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
