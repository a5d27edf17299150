//! An account's members, as RoleBindings in its namespace: one for each role, owned by the account. RBAC ends at the
//! namespace, so of several accounts in one only the oldest has members.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::api::{DeleteParams, ObjectMeta, Preconditions};
use kube::{Client, ResourceExt};

use crate::api::{Account, AccountStatus, CONDITION_READY, Member, MemberKind, MemberRole, Reason, condition, names};
use crate::apiserver::{Collection, Received};
use crate::operator::refusal::refused;
use crate::operator::write;

const RBAC: &str = "rbac.authorization.k8s.io";

/// What became of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Each has its role; or there are none.
    Bound,
    /// An older account has the namespace, so none has.
    NotOldest {
        /// Name of the oldest account.
        oldest: String,
    },
    /// A RoleBinding of this name is somebody else's.
    Conflict(String),
    /// The API server does not take them as they are, and says why.
    Refused(String),
}

/// Makes the RoleBindings as the members are.
pub async fn apply(
    client: &Client,
    account: &Account,
    neighbours: &[Arc<Account>],
    unreadable: &[ObjectMeta],
) -> Result<Members, kube::Error> {
    let bindings = Collection::<RoleBinding>::new(client, account.metadata.namespace.as_deref());
    let owners = bindings.get_opt(names::OWNERS_BINDING).await?;
    let admins = bindings.get_opt(names::ADMINS_BINDING).await?;
    let has_members = |meta: &ObjectMeta| [&owners, &admins].iter().any(|found| is_bound(found.as_ref(), meta));
    // The API server counts creation in seconds. Within one, the account whose members have roles comes first, then one that was told
    // that its members count, then the first name.
    let age = |meta: &ObjectMeta, status: Option<&AccountStatus>| {
        let created = meta.creation_timestamp.as_ref().map(|at| at.0);
        (created, !has_members(meta), !is_accepted(status), meta.name.clone().unwrap_or_default())
    };
    let readable = neighbours.iter().map(|other| (&other.metadata, other.status.as_ref()));
    // A deletion counts from when it is asked for, whatever finalizer holds the account.
    let rivals = readable.chain(unreadable.iter().map(|other| (other, None)));
    let rivals = rivals.filter(|(other, _)| other.deletion_timestamp.is_none());
    let own = age(&account.metadata, account.status.as_ref());
    let older = rivals.map(|(other, status)| (age(other, status), other)).filter(|(age, _)| *age < own);
    let older = older.min_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, other)| other);
    let counts = older.is_none() && account.metadata.deletion_timestamp.is_none();
    let mut outcome = Members::Bound;
    for (role, name, found) in
        [(MemberRole::Owner, names::OWNERS_BINDING, owners), (MemberRole::Admin, names::ADMINS_BINDING, admins)]
    {
        let wanted = if counts { binding(account, role, name) } else { None };
        match apply_one(&bindings, account, neighbours, (name, found), wanted).await {
            Ok(None) => {}
            Ok(Some(name)) => outcome = Members::Conflict(name),
            Err(error) => outcome = Members::Refused(refused(&error).ok_or(error)?),
        }
    }
    let oldest = older.filter(|_| !account.spec.members.is_empty()).and_then(|older| older.name.clone());
    Ok(oldest.map_or(outcome, |oldest| Members::NotOldest { oldest }))
}

fn is_accepted(status: Option<&AccountStatus>) -> bool {
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    condition(conditions, CONDITION_READY).is_some_and(|ready| ready.reason == Reason::Accepted.as_str())
}

/// Returns true if a binding of members belongs to the account with this metadata.
fn is_bound(found: Option<&Received<RoleBinding>>, meta: &ObjectMeta) -> bool {
    let Some(Received(Ok(binding))) = found else { return false };
    is_ours(binding) && binding.owner_references().iter().any(|owner| Some(&owner.uid) == meta.uid.as_ref())
}

/// The name, where it is taken by a RoleBinding that is not ours.
async fn apply_one(
    bindings: &Collection<RoleBinding>,
    account: &Account,
    neighbours: &[Arc<Account>],
    (name, found): (&str, Option<Received<RoleBinding>>),
    wanted: Option<RoleBinding>,
) -> Result<Option<String>, kube::Error> {
    // One that cannot be parsed was changed by others, so it is not ours to touch.
    let found = match found {
        None => None,
        Some(Received(Ok(binding))) => Some(binding),
        Some(Received(Err(_))) => return Ok(wanted.map(|_| name.to_owned())),
    };
    match (found, wanted) {
        (None, None) => {}
        (None, Some(wanted)) => drop(bindings.create(&write::by_us(), &wanted).await?),
        (Some(found), wanted) if !is_ours(&found) => return Ok(wanted.map(|_| name.to_owned())),
        (Some(found), Some(wanted)) if is_owned_by(&found, account) => {
            // A second owner would keep it alive when the account is gone.
            let same = found.subjects == wanted.subjects
                && found.metadata.labels == wanted.metadata.labels
                && found.metadata.owner_references == wanted.metadata.owner_references;
            if !same {
                let metadata = ObjectMeta {
                    resource_version: found.metadata.resource_version.clone(),
                    uid: found.metadata.uid.clone(),
                    ..wanted.metadata
                };
                bindings.replace(name, &write::by_us(), &RoleBinding { metadata, ..wanted }).await?;
            }
        }
        // Its own reconciliation takes it away.
        (Some(found), None) if neighbours.iter().any(|other| is_owned_by(&found, other)) => {}
        // Members that went, or a binding of an account that is gone.
        (Some(found), wanted) => {
            delete(bindings, &found).await?;
            if let Some(wanted) = wanted {
                bindings.create(&write::by_us(), &wanted).await?;
            }
        }
    }
    Ok(None)
}

async fn delete(bindings: &Collection<RoleBinding>, found: &RoleBinding) -> Result<(), kube::Error> {
    let preconditions = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
    match bindings.delete(&found.name_any(), &DeleteParams::default().preconditions(preconditions)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        answer => answer,
    }
}

/// The binding of one role; `None` where nobody has it.
fn binding(account: &Account, role: MemberRole, name: &str) -> Option<RoleBinding> {
    let members: BTreeSet<&Member> = account.spec.members.iter().filter(|member| member.role == role).collect();
    if members.is_empty() {
        return None;
    }
    Some(RoleBinding {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: account.namespace(),
            labels: Some(write::labels()),
            owner_references: Some(vec![write::owned_by(account)]),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: RBAC.to_owned(),
            kind: "ClusterRole".to_owned(),
            name: match role {
                MemberRole::Owner => names::OWNER_ROLE.to_owned(),
                MemberRole::Admin => names::ADMIN_ROLE.to_owned(),
            },
        },
        subjects: Some(members.into_iter().map(subject).collect()),
    })
}

fn subject(member: &Member) -> Subject {
    let (api_group, kind) = match member.kind {
        MemberKind::User => (Some(RBAC), "User"),
        MemberKind::Group => (Some(RBAC), "Group"),
        MemberKind::ServiceAccount => (None, "ServiceAccount"),
    };
    Subject {
        api_group: api_group.map(str::to_owned),
        kind: kind.to_owned(),
        name: member.name.clone(),
        namespace: member.namespace.clone(),
    }
}

/// Made by us, for whatever account. The policy keywright-operator-bindings says the same and lets us touch no other.
fn is_ours(binding: &RoleBinding) -> bool {
    let role = match binding.name_any().as_str() {
        names::OWNERS_BINDING => names::OWNER_ROLE,
        names::ADMINS_BINDING => names::ADMIN_ROLE,
        _ => return false,
    };
    let group = binding.owner_references().iter().any(|owner| {
        owner.kind == "Account" && owner.api_version.split_once('/').is_some_and(|(group, _)| group == names::GROUP)
    });
    let RoleRef { kind, name, .. } = &binding.role_ref;
    let managed = binding.labels().get(names::MANAGED_BY_LABEL).is_some_and(|manager| manager == names::MANAGED_BY);
    group && managed && kind == "ClusterRole" && name == role
}

fn is_owned_by(binding: &RoleBinding, account: &Account) -> bool {
    binding.owner_references().iter().any(|owner| Some(&owner.uid) == account.metadata.uid.as_ref())
}
