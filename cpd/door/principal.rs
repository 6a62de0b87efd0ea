//! Principals, roles and permissions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What a caller may do; each role says what it holds: [`Role::holds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks; decides approvals.
    Approver,
    /// Looks; starts, signals and operates runs.
    Operator,
    /// Everything: definitions, tokens, settings.
    Admin,
}

impl Role {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Approver, Self::Operator, Self::Admin];

    /// As it is written in commands, tokens and claims.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether the role holds a permission.
    #[must_use]
    pub const fn holds(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::Operate => matches!(self, Self::Operator | Self::Admin),
            Permission::Approve => matches!(self, Self::Approver | Self::Admin),
            Permission::Administer => matches!(self, Self::Admin),
        }
    }
}

/// What an action needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Seeing runs, definitions, logs.
    Read,
    /// Starting runs, giving them events, and operating them: cancel, pause, resume, retry, fork, resolve; running schedules now.
    Operate,
    /// Deciding approvals.
    Approve,
    /// Registering and retiring definitions; schedules, tokens, exports, settings.
    Administer,
}

impl Permission {
    /// As it stands in messages and in the audit.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Approve => "approve",
            Self::Administer => "administer",
        }
    }
}

/// The namespaces that a principal reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace, and what belongs to none.
    All,
    /// These only.
    Namespaces(BTreeSet<Arc<str>>),
}

impl Scope {
    /// Whether a namespace lies within; what belongs to no namespace (`None`) only within [`Scope::All`].
    #[must_use]
    pub fn contains(&self, namespace: Option<&str>) -> bool {
        match (self, namespace) {
            (Self::All, _) => true,
            (Self::Namespaces(names), Some(namespace)) => names.contains(namespace),
            (Self::Namespaces(_), None) => false,
        }
    }
}

/// How a principal has shown who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// On the machine itself: the owner of the data directory, or a loopback caller of a daemon that was told to let those in.
    Local,
    /// A bearer token, by its public id.
    Token(Arc<str>),
    /// A JSON Web Token of an issuer.
    Oidc(Arc<str>),
    /// A client certificate, by its subject.
    Certificate(Arc<str>),
}

/// A caller that has shown who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// As it stands in the journal as actor.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// The groups of people that it belongs to, for approvals.
    pub groups: Vec<Arc<str>>,
    /// How it was recognised.
    pub via: Via,
}

impl Principal {
    /// The owner of the data directory, on the machine itself.
    #[must_use]
    pub fn local(name: &str) -> Self {
        Self { name: name.into(), role: Role::Admin, scope: Scope::All, groups: Vec::new(), via: Via::Local }
    }

    /// Whether it may do something in a namespace (`None`: to what belongs to none).
    ///
    /// # Errors
    /// [`Denied`], which says what was missing.
    pub fn may(&self, permission: Permission, namespace: Option<&str>) -> Result<(), Denied> {
        let denied = |missing| {
            Err(Denied {
                who: self.name.clone(),
                role: self.role,
                permission,
                namespace: namespace.map(Arc::from),
                missing,
            })
        };
        if !self.role.holds(permission) {
            return denied(Missing::Permission);
        }
        if !self.scope.contains(namespace) {
            return denied(Missing::Namespace);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Permission,
    Namespace,
}

/// A principal may not do what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Who asked.
    pub who: Arc<str>,
    /// With which role.
    pub role: Role,
    /// For what.
    pub permission: Permission,
    /// Where.
    pub namespace: Option<Arc<str>>,
    missing: Missing,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, role) = (&self.who, self.role.name());
        match (self.missing, &self.namespace) {
            (Missing::Permission, _) => write!(f, "{who} ({role}) may not {}", self.permission.name()),
            (Missing::Namespace, Some(namespace)) => {
                write!(f, "{who} ({role}) does not reach the namespace {namespace}")
            }
            (Missing::Namespace, None) => {
                write!(f, "{who} ({role}) reaches some namespaces only, and this belongs to none")
            }
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_hold_what_they_say_and_scopes_bound_them() {
        let mut operator = Principal::local("ops");
        operator.role = Role::Operator;
        operator.scope = Scope::Namespaces(BTreeSet::from([Arc::from("fraud")]));
        assert_eq!(operator.may(Permission::Operate, Some("fraud")), Ok(()));
        for (permission, namespace, said) in [
            (Permission::Approve, Some("fraud"), "ops (operator) may not approve"),
            (Permission::Read, Some("hr"), "ops (operator) does not reach the namespace hr"),
            (Permission::Read, None, "ops (operator) reaches some namespaces only, and this belongs to none"),
        ] {
            assert_eq!(operator.may(permission, namespace).unwrap_err().to_string(), said);
        }
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
            assert!(role.holds(Permission::Read));
            assert_eq!(role.holds(Permission::Administer), role == Role::Admin);
        }
    }
}
