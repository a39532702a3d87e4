//! A profile: rules over system call names, and the OCI runtime specification's JSON of it
//! (config-linux.md, section Seccomp).

use serde::Deserialize;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Errno(u16),
    KillThread,
    KillProcess,
    Trap,
    Log,
    Trace(u16),
}

/// How an argument is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// (mask, value).
    Masked(u64, u64),
}

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Argument {
    pub index: u32,
    pub compare: Compare,
}

/// Calls that share an action; the conditions must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    pub arguments: Vec<Argument>,
}

/// The whole of it. The first rule that fits a call decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub default: Action,
    pub rules: Vec<Rule>,
    /// Whether 32-bit programs get the same rules by their own numbers; else their calls are
    /// refused.
    pub compat: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Json {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Vec<String>,
    /// SECCOMP_FILTER_FLAG_*: only the harmless ones are taken.
    #[serde(default)]
    flags: Vec<String>,
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Vec<JsonRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonRule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<JsonArgument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonArgument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Reads a profile file.
pub(super) fn parse(text: &[u8]) -> Result<Profile, String> {
    let json: Json = serde_json::from_slice(text).map_err(|e| format!("decoding failed: {e}"))?;
    if json.listener_path.is_some() {
        return Err("listenerPath (SCMP_ACT_NOTIFY) is not supported".into());
    }
    for flag in &json.flags {
        // LOG changes what the audit log shows, SPEC_ALLOW trades speed for a mitigation: leaving
        // either out confines no less.
        if flag != "SECCOMP_FILTER_FLAG_LOG" && flag != "SECCOMP_FILTER_FLAG_SPEC_ALLOW" {
            return Err(format!("flag {flag} is not supported"));
        }
    }
    let mut rules = Vec::new();
    for rule in json.syscalls {
        let action = action(&rule.action, rule.errno_ret)?;
        let arguments = rule.args.unwrap_or_default();
        let arguments = arguments.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
        // Two conditions on one argument are alternatives (OCI: they would never hold together in
        // the profiles that are written this way).
        let repeats = (0..6).any(|i| arguments.iter().filter(|a| a.index == i).count() > 1);
        if repeats {
            for argument in arguments {
                let (names, arguments) = (rule.names.clone(), vec![argument]);
                rules.push(Rule { names, action, arguments });
            }
        } else {
            rules.push(Rule { names: rule.names, action, arguments });
        }
    }
    let compat = json.architectures.iter().any(|arch| arch == "SCMP_ARCH_X86");
    Ok(Profile { default: action(&json.default_action, json.default_errno_ret)?, rules, compat })
}

fn action(name: &str, errno: Option<u16>) -> Result<Action, String> {
    let errno = errno.unwrap_or(libc::EPERM as u16);
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(errno),
        other => return Err(format!("action {other} is not supported")),
    })
}

fn argument(json: &JsonArgument) -> Result<Argument, String> {
    if json.index > 5 {
        return Err(format!("argument index {} is over 5", json.index));
    }
    let compare = match json.op.as_str() {
        "SCMP_CMP_EQ" => Compare::Equal(json.value),
        "SCMP_CMP_NE" => Compare::NotEqual(json.value),
        "SCMP_CMP_LT" => Compare::Less(json.value),
        "SCMP_CMP_LE" => Compare::LessOrEqual(json.value),
        "SCMP_CMP_GT" => Compare::Greater(json.value),
        "SCMP_CMP_GE" => Compare::GreaterOrEqual(json.value),
        "SCMP_CMP_MASKED_EQ" => Compare::Masked(json.value, json.value_two),
        other => return Err(format!("operator {other} is not supported")),
    };
    Ok(Argument { index: json.index, compare })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let check = |text: &str| parse(text.as_bytes()).expect_err("must be refused");
        assert_eq!(
            check(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#),
            "action SCMP_ACT_NOTIFY is not supported"
        );
        assert_eq!(
            check(r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#),
            "listenerPath (SCMP_ACT_NOTIFY) is not supported"
        );
        assert!(check(r#"{"defaultAction":"SCMP_ACT_ALLOW","nonsense":1}"#).contains("nonsense"));
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives() {
        let profile = parse(
            br#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["personality"],
            "action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},
            {"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#,
        )
        .expect("parses");
        assert_eq!(profile.rules.len(), 2);
        assert_eq!(profile.default, Action::Errno(1));
    }
}
