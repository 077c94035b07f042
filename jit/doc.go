// Package jit decides time-boxed elevation: who may ask for a role, who decides,
// what an approval gives and when it ends (the JIT rules of docs/rules.md).
//
// Every transition is a pure function from the newest state, an event and an
// instant to a changeset with its audit events, or a refusal (Rule JIT-2). A
// grant is an assignment with a window, so nothing has to run for it to begin or
// to end (Rule JIT-1). The package has no clock, store or network.
package jit
