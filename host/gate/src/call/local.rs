//! Calls whose effect stays in the host: secrets, state, clock.

use crate::call::pass::{CallContext, CallResult, Gate, denied, millis};
use crate::call::{Call, Effect, WhenInDoubt};
use crate::decide::rules::late;
use crate::source::from_journal::{FromJournal, bytes};
use serde_json::{Value, json};
use std::time::Duration;
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::capability::secrets::Secret;
use vdeploy_core::capability::state::{MAX_KEY, MAX_VALUE};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_scope::Grants;

/// A sleep from this length on is resumed; a shorter one begins anew.
const LASTING: Duration = Duration::from_secs(1);

impl Gate {
    /// The handle of a granted secret.
    pub async fn secret(&self, name: &str) -> Result<Secret, EffectError> {
        let grant = if self.grants.allows_secret(name) {
            Ok(())
        } else {
            Err(denied(
                codes::SECRET_DENIED,
                &format!("the secret `{name}`"),
                &Grants::line_for_secret_to_ssh(&self.plugin, name),
            ))
        };
        let call = Call {
            function: HostFunction::SecretsGet,
            action: format!("secret {name}"),
            request: json!({ "name": name }),
            effect: Effect::Probe,
            grant,
            quiet: true,
            lasting: false,
            in_doubt: WhenInDoubt::Retry,
        };
        let secrets = self.shared.world.secrets.clone();
        let secret = secrets.get(name);
        self.pass_now(call, secret, |_| Value::from("a handle"))
            .await
    }

    /// The value of a secret, for a plugin with the grant to read it. The
    /// journal never has it.
    pub async fn reveal(&self, secret: &Secret) -> Result<String, EffectError> {
        let grant = if self.grants.allows_reveal(&secret.name) {
            Ok(())
        } else {
            Err(denied(
                codes::SECRET_REVEAL_DENIED,
                &format!("reading the secret `{}`", secret.name),
                &Grants::line_to_add(
                    "secrets-reveal",
                    &self.plugin,
                    std::slice::from_ref(&secret.name),
                ),
            ))
        };
        let call = Call {
            function: HostFunction::SecretsReveal,
            action: format!("reveal secret {}", secret.name),
            request: json!({ "name": secret.name }),
            effect: Effect::Probe,
            grant,
            quiet: true,
            lasting: false,
            in_doubt: WhenInDoubt::Retry,
        };
        let value = Ok(secret.value.expose().to_owned());
        self.pass_now(call, value, |_| Value::from("***")).await
    }

    /// A value of this plugin on this target.
    pub async fn state_get(&self, key: &str) -> Result<Option<Vec<u8>>, EffectError> {
        let call = self.state_call(HostFunction::StateGet, key, Value::Null, Effect::Probe);
        let target = self.shared.target().name;
        let state = self.shared.world.state.clone();
        self.pass(
            call,
            || Ok(None),
            async |_| {
                let masker = &self.shared.masker;
                let value = state.get(&self.plugin, &target, key)?;
                let value = value.map(|value| masker.mask_bytes(&value).into_owned());
                Ok(CallResult {
                    journal: value.as_deref().map_or(Value::Null, bytes),
                    value,
                })
            },
        )
        .await
    }

    /// Stores (`Some`) or removes (`None`) a value of this plugin.
    pub async fn state_set(&self, key: &str, value: Option<&[u8]>) -> Result<(), EffectError> {
        let function = if value.is_some() {
            HostFunction::StatePut
        } else {
            HostFunction::StateDelete
        };
        let shown = value.map_or(Value::Null, crate::call::ssh::text);
        let mut call = self.state_call(function, key, shown, Effect::Change);
        if call.grant.is_ok() && value.is_some_and(|v| v.len() > MAX_VALUE) {
            call.grant = Err(EffectError::new(
                ErrorKind::Invalid,
                codes::STATE_TOO_LARGE,
                format!("a value has at most {MAX_VALUE} bytes"),
            ));
        }
        let parts = [Some(key.as_bytes()), value];
        if call.grant.is_ok() && parts.into_iter().flatten().any(|p| self.has_secret(p)) {
            call.grant = Err(EffectError::new(
                ErrorKind::Invalid,
                codes::STATE_SECRET,
                "the key or the value has a secret in it, and none is stored; store what you \
                 derive from it, such as a digest",
            ));
        }
        let target = self.shared.target().name;
        let state = self.shared.world.state.clone();
        self.pass(
            call,
            || Ok(()),
            async |_| {
                match value {
                    Some(bytes) => state.put(&self.plugin, &target, key, bytes)?,
                    None => state.delete(&self.plugin, &target, key)?,
                }
                Ok(CallResult {
                    value: (),
                    journal: Value::Null,
                })
            },
        )
        .await
    }

    fn has_secret(&self, bytes: &[u8]) -> bool {
        *self.shared.masker.mask_bytes(bytes) != *bytes
    }

    fn state_call(&self, function: HostFunction, key: &str, value: Value, effect: Effect) -> Call {
        let grant = if !self.grants.state {
            Err(denied(
                codes::STATE_DENIED,
                &format!("`{function}`"),
                &Grants::line_to_add("state", &self.plugin, &[]),
            ))
        } else if key.is_empty() || key.len() > MAX_KEY {
            Err(EffectError::new(
                ErrorKind::Invalid,
                codes::STATE_KEY,
                format!("a key has 1 to {MAX_KEY} bytes"),
            ))
        } else {
            Ok(())
        };
        Call {
            function,
            action: format!("{function} {key}"),
            request: json!({ "key": key, "value": value }),
            effect,
            grant,
            quiet: true,
            lasting: false,
            in_doubt: WhenInDoubt::Retry,
        }
    }

    /// Milliseconds since 1970.
    pub async fn now(&self) -> Result<u64, EffectError> {
        let call = Call {
            function: HostFunction::ClockNow,
            action: "clock".to_owned(),
            request: Value::Null,
            effect: Effect::Probe,
            grant: Ok(()),
            quiet: true,
            lasting: false,
            in_doubt: WhenInDoubt::Retry,
        };
        let now = self.shared.world.clock.now_unix_ms();
        self.pass_now(call, Ok(now), |now| Value::from(*now)).await
    }

    /// Waits, no longer than the run. At the step's deadline the wait ends with
    /// `gate.deadline`.
    pub async fn sleep(&self, duration: Duration) -> Result<(), EffectError> {
        let left = self.time_left();
        // The request is what was asked for: what is left differs with the
        // machine's load, and a recorded call is known again by its request.
        let asked = millis(duration);
        let too_long = duration > left;
        let duration = duration.min(left);
        let call = Call {
            function: HostFunction::ClockSleep,
            action: format!("wait {} ms", millis(duration)),
            request: json!({ "ms": asked }),
            effect: Effect::Probe,
            grant: Ok(()),
            quiet: false,
            lasting: duration >= LASTING,
            in_doubt: WhenInDoubt::Retry,
        };
        let clock = self.shared.world.clock.clone();
        let passed = self.pass(
            call,
            || Ok(()),
            async |context: CallContext| {
                let slept = context
                    .asked_before
                    .map_or(0, |since| clock.now_unix_ms().saturating_sub(since));
                let rest = duration.saturating_sub(Duration::from_millis(slept));
                tokio::select! {
                    () = clock.sleep(rest) => {
                        if too_long {
                            return Err(late());
                        }
                    }
                    () = self.shared.cancellation.stopped() => {
                        let why = "the wait was cut short";
                        return Err(EffectError::new(ErrorKind::Cancelled, codes::GATE_CUT, why));
                    }
                }
                Ok(CallResult {
                    value: (),
                    journal: Value::Null,
                })
            },
        );
        match passed.await {
            // The plugin's next call hears of the stop.
            Err(error) if error.code == codes::GATE_CUT => Ok(()),
            passed => passed,
        }
    }

    /// A call that is answered without waiting.
    async fn pass_now<T: FromJournal>(
        &self,
        call: Call,
        answer: Result<T, EffectError>,
        journal: impl FnOnce(&T) -> Value,
    ) -> Result<T, EffectError> {
        let never = || {
            Err(EffectError::new(
                ErrorKind::Failed,
                codes::GATE_PRETEND,
                "a probe is never pretended",
            ))
        };
        self.pass(call, never, async |_| {
            let value = answer?;
            Ok(CallResult {
                journal: journal(&value),
                value,
            })
        })
        .await
    }
}
