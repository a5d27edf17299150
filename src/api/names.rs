//! Names that users, charts and other programs rely on. They do not change.

/// The API group of our resources.
pub const GROUP: &str = "keywright.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";

/// Default namespace of operator, verifier and the sealing key.
pub const SYSTEM_NAMESPACE: &str = "keywright-system";
/// Default namespace of entries, the pepper and the verifiers' Leases. Only the operator writes entries, only verifiers read them.
pub const ENTRIES_NAMESPACE: &str = "keywright-entries";

/// The type of the Secret that holds a key's plaintext, in the key's own namespace.
pub const API_KEY_SECRET_TYPE: &str = "keywright.dev/api-key";
/// The type of the Secret that holds a key's record.
pub const ENTRY_SECRET_TYPE: &str = "keywright.dev/entry";
/// The one key of that Secret, with the entry as JSON.
pub const ENTRY_DATA_KEY: &str = "entry.json";
/// On an entry: whose it is, as [`Owner::label`](crate::key::Owner::label) has it.
pub const OWNER_LABEL: &str = "keywright.dev/owner";
/// On an entry, set by whoever restores a backup: until the end of this day, as in `2026-11-23` (UTC), a new ApiKey of its
/// owner's name takes it over.
pub const ADOPT_UNTIL_LABEL: &str = "keywright.dev/adopt-until";
/// On an entry: the resourceVersion of the delivered Secret that is blanked next, so that the entry's own version changes.
pub const BLANKING_ANNOTATION: &str = "keywright.dev/blanking";
/// The type of the Secret that holds the keys of the tags.
pub const PEPPER_SECRET_TYPE: &str = "keywright.dev/pepper";
/// The type of the Secret that holds the key which seals undelivered plaintexts.
pub const SEALING_KEY_SECRET_TYPE: &str = "keywright.dev/sealing-key";

/// The type of the Secret that reserves a Site ID, in the namespace of entries, under the id in lower case.
pub const SITE_ID_SECRET_TYPE: &str = "keywright.dev/site-id";
/// The one key of that Secret: `<namespace>/<name>` of the account.
pub const SITE_ID_DATA_KEY: &str = "account";

/// The one pepper Secret, in the namespace of entries.
pub const PEPPER_NAME: &str = "keywright-pepper";
/// The one sealing-key Secret, in the namespace of the operator.
pub const SEALING_KEY_NAME: &str = "keywright-sealing-key";
/// A Secret that is not ours, shipped by the chart for the operator's start-up check.
pub const CANARY_NAME: &str = "keywright-canary";
/// A Secret of the type of delivered ones, with a value that is no secret, shipped for the same check.
pub const DELIVERED_CANARY_NAME: &str = "keywright-canary-delivered";
/// The policy that confines the operator to Secrets of our types, and its binding.
pub const OPERATOR_SECRETS_POLICY: &str = "keywright-operator-secrets";
/// The chart's value that limits names, labels and annotations of delivered Secrets. Refusals of that policy contain it.
pub const DELIVERED_SECRETS_VALUE: &str = "deliveredSecrets";

/// The Lease of the operator that acts, in its own namespace.
pub const OPERATOR_LEASE: &str = "keywright-operator";

/// The ClusterRoles that members of an account get, by role.
pub const OWNER_ROLE: &str = "keywright-owner";
/// See [`OWNER_ROLE`].
pub const ADMIN_ROLE: &str = "keywright-admin";
/// The RoleBindings that give them, in the account's namespace.
pub const OWNERS_BINDING: &str = "keywright-members-owner";
/// See [`OWNERS_BINDING`].
pub const ADMINS_BINDING: &str = "keywright-members-admin";
/// The policy that confines the operator to those, and its binding.
pub const OPERATOR_BINDINGS_POLICY: &str = "keywright-operator-bindings";

/// On a delivered Secret: which minting its value is, 1, 2, … The policy refuses a lower one.
pub const SERIAL_ANNOTATION: &str = "keywright.dev/serial";

/// Annotation of an ApiKey by which somebody asks the operator to look at it now: any new value of up to 64 bytes, such as the time.
pub const RECONCILE_ANNOTATION: &str = "keywright.dev/reconcile-requested-at";

/// On what we make: who manages it.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "keywright";

/// The field manager of the operator.
pub const OPERATOR_MANAGER: &str = "keywright-operator";
/// The field manager of what verifiers write.
pub const VERIFIER_MANAGER: &str = "keywright-verifier";

/// The first part of a key where the account says nothing else.
pub const DEFAULT_KEY_PREFIX: &str = "kw";

/// Marks a verifier's Lease.
pub const VERIFIER_LEASE_LABEL: (&str, &str) = ("app.kubernetes.io/component", "verifier");
/// On a verifier's Lease: the resourceVersion that it has applied of ApiKeys, Accounts, Suspensions and entries, in this
/// order, separated by commas; 0 is nothing yet.
pub const APPLIED_ANNOTATION: &str = "keywright.dev/applied";
/// On the Lease of a verifier that watches some namespaces only: each of them with what was applied of its ApiKeys, Accounts
/// and Suspensions, as in `billing=7,5,3;shop=7,6,3`. The versions of [`APPLIED_ANNOTATION`] are then the least of them.
pub const APPLIED_IN_ANNOTATION: &str = "keywright.dev/applied-in";
/// On a verifier's Lease: after how many milliseconds without proof it answers nothing any more; 0 is never.
pub const MAX_STALENESS_ANNOTATION: &str = "keywright.dev/max-staleness-ms";
