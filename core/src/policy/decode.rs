//! Bytes of a policy → typed policy, entirely or not at all.

use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;
use weft_proto::security as proto;

use super::{
    Action, Clause, IpBlock, Match, Policy, PolicyEntry, PolicyName, Rule, Scope, ServiceAccount,
    StringMatch, Undecodable, wire,
};

/// Why a policy was not understood. The message goes back to the control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No valid message at all.
    #[error("not a valid Authorization message: {0}")]
    Malformed(String),
    /// The content belongs under another name.
    #[error("the resource's name is not its content's namespace/name, which is {0}")]
    Name(String),
    /// An enum has a value of a later version.
    #[error("{field} has the unknown value {value}")]
    UnknownValue {
        /// Which field.
        field: &'static str,
        /// Its number.
        value: i32,
    },
    /// A rule has a field of a later version. Skipping it would drop a condition.
    #[error("a rule has the unknown field {0}; skipping it would drop a condition")]
    UnknownCondition(u32),
    /// A string comparison without a comparison, or of a later kind.
    #[error("a string match has none of exact, prefix, suffix, presence")]
    StringMatch,
    /// No address block.
    #[error("an address block has {bytes} address bytes and prefix length {length}")]
    Block {
        /// Length of the address.
        bytes: usize,
        /// The prefix.
        length: u32,
    },
    /// No port.
    #[error("{0} is no port")]
    Port(u32),
    /// Half a service account.
    #[error("a service account match lacks its namespace or name")]
    ServiceAccount,
}

/// Decodes the policy with resource name `name`. Always yields an entry: what is not understood denies.
///
/// The entry depends on the name and the bytes alone, so that updates converge whatever came before.
pub fn decode(name: &PolicyName, bytes: &[u8]) -> PolicyEntry {
    let walk = wire::walk(bytes);
    let undecodable = |reason, scope, is_dry_run| {
        PolicyEntry::Undecodable(Undecodable { name: name.clone(), scope, is_dry_run, reason })
    };
    let message = match proto::Authorization::decode(bytes) {
        Ok(message) => message,
        Err(error) => {
            let number = walk.scope.and_then(|number| i32::try_from(number).ok());
            let reason = PolicyError::Malformed(error.to_string());
            return undecodable(reason, number.and_then(scope), false);
        }
    };
    match typed(name, &message, walk.unknown_condition) {
        Ok(policy) => PolicyEntry::Policy(policy),
        Err(reason) => undecodable(reason, scope(message.scope), message.dry_run),
    }
}

fn typed(
    name: &PolicyName,
    message: &proto::Authorization,
    unknown_condition: Option<u32>,
) -> Result<Policy, PolicyError> {
    let own_name = format!("{}/{}", message.namespace, message.name);
    if own_name != name.as_str() {
        return Err(PolicyError::Name(own_name));
    }
    if let Some(field) = unknown_condition {
        return Err(PolicyError::UnknownCondition(field));
    }
    let unknown = |field, value| PolicyError::UnknownValue { field, value };
    Ok(Policy {
        name: name.clone(),
        scope: scope(message.scope).ok_or(unknown("scope", message.scope))?,
        action: action(message.action).ok_or(unknown("action", message.action))?,
        is_dry_run: message.dry_run,
        rules: all(&message.rules, |rule| {
            Ok(Rule {
                clauses: all(&rule.clauses, |clause| {
                    Ok(Clause { matches: all(&clause.matches, typed_match)? })
                })?,
            })
        })?,
    })
}

fn scope(number: i32) -> Option<Scope> {
    match proto::Scope::try_from(number).ok()? {
        proto::Scope::Global => Some(Scope::Global),
        proto::Scope::Namespace => Some(Scope::Namespace),
        proto::Scope::WorkloadSelector => Some(Scope::WorkloadSelector),
    }
}

fn action(number: i32) -> Option<Action> {
    match proto::Action::try_from(number).ok()? {
        proto::Action::Allow => Some(Action::Allow),
        proto::Action::Deny => Some(Action::Deny),
    }
}

fn typed_match(message: &proto::Match) -> Result<Match, PolicyError> {
    Ok(Match {
        namespaces: all(&message.namespaces, string)?,
        not_namespaces: all(&message.not_namespaces, string)?,
        principals: all(&message.principals, string)?,
        not_principals: all(&message.not_principals, string)?,
        source_ips: all(&message.source_ips, block)?,
        not_source_ips: all(&message.not_source_ips, block)?,
        destination_ips: all(&message.destination_ips, block)?,
        not_destination_ips: all(&message.not_destination_ips, block)?,
        destination_ports: all(&message.destination_ports, port)?,
        not_destination_ports: all(&message.not_destination_ports, port)?,
        service_accounts: all(&message.service_accounts, account)?,
        not_service_accounts: all(&message.not_service_accounts, account)?,
    })
}

/// Every value or none.
fn all<T, U>(
    values: &[T],
    typed: impl Fn(&T) -> Result<U, PolicyError>,
) -> Result<Box<[U]>, PolicyError> {
    values.iter().map(typed).collect()
}

fn string(message: &proto::StringMatch) -> Result<StringMatch, PolicyError> {
    use proto::string_match::MatchType;
    Ok(match message.match_type.as_ref().ok_or(PolicyError::StringMatch)? {
        MatchType::Exact(text) => StringMatch::Exact(text.as_str().into()),
        MatchType::Prefix(text) => StringMatch::Prefix(text.as_str().into()),
        MatchType::Suffix(text) => StringMatch::Suffix(text.as_str().into()),
        MatchType::Presence(()) => StringMatch::Presence,
    })
}

fn block(message: &proto::Address) -> Result<IpBlock, PolicyError> {
    let address = &message.address;
    let error = PolicyError::Block { bytes: address.len(), length: message.length };
    let address = <[u8; 4]>::try_from(&**address)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(&**address).map(IpAddr::from));
    address.ok().and_then(|address| IpBlock::new(address, message.length)).ok_or(error)
}

fn port(number: &u32) -> Result<u16, PolicyError> {
    u16::try_from(*number).map_err(|_| PolicyError::Port(*number))
}

fn account(message: &proto::ServiceAccountMatch) -> Result<ServiceAccount, PolicyError> {
    if message.namespace.is_empty() || message.service_account.is_empty() {
        return Err(PolicyError::ServiceAccount);
    }
    Ok(ServiceAccount {
        namespace: Arc::from(message.namespace.as_str()),
        service_account: Arc::from(message.service_account.as_str()),
    })
}
