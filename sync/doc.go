// Package dirsync (folder sync) brings what directories say into the store: it
// mirrors the sources, compares what the mapping wants with what there is,
// judges the difference and commits it.
//
// It owns the Mirror, the Plan, the guards and the loop that runs them. It reads
// no directory itself (connectors do), gives facts no meaning (package mapping
// does) and decides no access (package engine does).
//
// Its invariants: only a complete round takes anything away (Rule SRC-1); a
// source's cursor is stored with the data that it covers, in one transaction
// (Rule SRC-2); what Ambit did not make from files or a mapping it does not
// remove; a plan is applied whole or not at all, and applied twice it is empty.
package dirsync
