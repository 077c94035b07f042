// Package jit decides time-boxed elevation: who may ask for a role, who decides,
// what an approval gives and when it ends (the JIT rules of docs/rules.md;
// docs/jit.md tells it to people).
//
// Every transition is a pure function from the newest state, an event and an
// instant to a changeset with its audit events, or a refusal (Rule JIT-2):
//
//	Step    an event of a person: submit, show, approve, deny, withdraw, cancel,
//	        relinquish, revoke, and the writing of policies
//	React   what another changeset takes the ground from, in the same revision
//	Sweep   what time has decided already, written down with its true instants
//
// Rows is the one state table; no other transition exists. Step judges the
// revision it is given and nothing that was said earlier: eligibility, gates,
// authority, separation of duties, the policy and the access diff that the
// approver was shown, again at every decision (Rules JIT-3, JIT-4). Whoever
// commits an Outcome must commit it whole, on that revision, or judge anew.
//
// A grant is an access.Assignment with a window, a bound and the request's id, so
// nothing has to run for it to begin or to end (Rule JIT-1); Request.Status says
// what a stored request is at an instant.
//
// The package has no clock, store, network or log. It does not check tokens or the
// freshness of a sign-in, keep idempotency keys, send messages, or decide who is
// Elevation Administrator or Auditor: Caller says so.
package jit
