// Package scim is SCIM 2.0 (RFC 7643, RFC 7644) as a source that pushes: Entra,
// Okta and others put users and groups here, each client into a source of its own,
// under /scim/v2/{source}.
//
// It owns the protocol, what clients deviate from it, and the directory.Reader
// that hands on what was pushed. What a client is told to be done is in the store,
// and stays there until the client takes it away: absence means nothing (Rule
// SCIM-8). What becomes of it is the synchronization's affair, as with every other
// source; a plan that takes away too much is held there while the client is told,
// truly, that what it said was stored.
//
// It has no SQL, knows no mapping and decides no access.
package scim
