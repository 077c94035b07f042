package mapping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// node is an object of one of the sources.
type node struct {
	source *source
	id     directory.ObjectID
}

func (n node) compare(o node) int {
	return cmp.Or(strings.Compare(string(n.source.id), string(o.source.id)), strings.Compare(string(n.id), string(o.id)))
}

// identity is the SID of an object, or that of the object of another source that it
// stands for (Rule AD-19).
type identity struct {
	sid     string
	standIn bool
}

func identityOf(o *directory.Object) identity {
	sid := o.Get(directory.AttrSID)
	return identity{sid, sid != "" && o.Kind != directory.KindUser && o.Kind != directory.KindGroup}
}

// sids joins the objects of several domains: a group names members of another one
// by what stands for them there.
type sids struct {
	had, named map[string][]node // by SID: the objects whose it is, and what stands for them; sorted
	domains    map[string]int    // how many SIDs of a domain somebody has
}

func newSIDs() sids {
	return sids{had: map[string][]node{}, named: map[string][]node{}, domains: map[string]int{}}
}

// domainOf is a SID without its last part.
func domainOf(sid string) string { return sid[:max(strings.LastIndexByte(sid, '-'), 0)] }

// set says what an object's identity is now, the zero value for none.
func (s sids) set(n node, now identity) {
	if was := n.source.identities[n.id]; was.sid != "" {
		by := s.by(was)
		i, _ := slices.BinarySearchFunc(by[was.sid], n, node.compare)
		if by[was.sid] = slices.Delete(by[was.sid], i, i+1); len(by[was.sid]) == 0 {
			delete(by, was.sid)
		}
		if !was.standIn {
			s.domains[domainOf(was.sid)]--
		}
	}
	if now.sid == "" {
		delete(n.source.identities, n.id)
		return
	}
	n.source.identities[n.id] = now
	by := s.by(now)
	i, _ := slices.BinarySearchFunc(by[now.sid], n, node.compare)
	by[now.sid] = slices.Insert(by[now.sid], i, n)
	if !now.standIn {
		s.domains[domainOf(now.sid)]++
	}
}

func (s sids) by(who identity) map[string][]node {
	if who.standIn {
		return s.named
	}
	return s.had
}

// meant are the users and groups of other sources that the node stands for: more
// than one where several sources read one domain.
func (s sids) meant(standIn node) []node {
	return elsewhere(standIn, s.had[standIn.source.identities[standIn.id].sid])
}

// standIns are what stands for a user or group in other sources.
func (s sids) standIns(of node) []node {
	who := of.source.identities[of.id]
	if who.sid == "" || who.standIn {
		return nil
	}
	return elsewhere(of, s.named[who.sid])
}

func elsewhere(from node, list []node) []node {
	if !slices.ContainsFunc(list, func(n node) bool { return n.source == from.source }) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(n node) bool { return n.source == from.source })
}

// identify takes up a change of an object's identity, with all groups whose members
// it changes.
func (u *update) identify(n node) {
	var now identity
	if o, ok := u.view.Object(n.source.id, n.id); ok {
		now = identityOf(&o)
	}
	was := n.source.identities[n.id]
	if was == now {
		return
	}
	affected := set[node]{}
	if was.standIn || now.standIn {
		affected.add(n)
		u.turned.add(n)
	}
	take := func() {
		for _, standIn := range u.sids.standIns(n) {
			affected.add(standIn)
		}
	}
	take()
	u.sids.set(n, now)
	take()
	for a := range affected {
		for _, rel := range [...]directory.Relation{directory.Member, directory.Owner} {
			u.view.MemberOf(a.source.id, a.id, rel, func(g directory.ObjectID) bool {
				for _, x := range a.source.expansions[g] {
					u.expand.add(x)
				}
				return true
			})
		}
	}
	if a := n.source.accounts[n.id]; a != nil {
		for _, x := range a.in { // their path has the SID
			if x.team == nil {
				continue
			}
			if p := a.person(x.team.world); p != nil {
				u.markMembership(x.team, p.want.ID)
			}
		}
	}
}

// ofDomain is how the SIDs of accounts and groups of a domain begin. All others are
// of Windows itself, such as S-1-5-11, which is whoever has logged on.
const ofDomain = "S-1-5-21-"

// maxSIDs is how many SIDs a finding names.
const maxSIDs = 3

// strangerFindings tell of the members of a team's group whom no source has.
func (t *team) strangerFindings(finding func(FindingKind, int, string) Finding) []Finding {
	var list []Finding
	tell := func(sids []string, text, hint string) {
		if len(sids) == 0 {
			return
		}
		named := strings.Join(sids[:min(len(sids), maxSIDs)], ", ")
		if len(sids) > maxSIDs {
			named += ", …"
		}
		f := finding(Strangers, len(sids), fmt.Sprintf(text, len(sids), named))
		f.Hint = hint
		list = append(list, f)
	}
	of := func(domain bool) []string {
		return slices.DeleteFunc(slices.Clone(t.expansion.strangers), func(sid string) bool { return strings.HasPrefix(sid, ofDomain) != domain })
	}
	tell(of(true), "members of the group whom it names by SID and no source has are pending: %d (%s)",
		"their domain has to be a source, read to its end, with rules for its people; if it is, they are outside of its bases or gone")
	tell(of(false), "members of the group that are no users or groups of a domain count for nobody: %d (%s)",
		"put the people themselves, or a group of them, into the group")
	return list
}

// Unsure tells whether a team's group names members by SIDs of domains from which no
// source that the rules name has anybody: who they are, or has been, is then open.
func (e *Evaluation) Unsure(env access.EnvironmentID, id access.TeamID) bool {
	w := e.worlds[env]
	if w == nil || w.teams[id] == nil {
		return false
	}
	return slices.ContainsFunc(w.teams[id].expansion.strangers, func(sid string) bool {
		return strings.HasPrefix(sid, ofDomain) && e.sids.domains[domainOf(sid)] == 0
	})
}

// containing calls yield with the expansions that a group is in which has the node
// as a member, be it by what stands for it.
func (u *update) containing(n node, rel directory.Relation, yield func(*expansion)) {
	for _, n := range append([]node{n}, u.sids.standIns(n)...) {
		u.view.MemberOf(n.source.id, n.id, rel, func(g directory.ObjectID) bool {
			for _, x := range n.source.expansions[g] {
				yield(x)
			}
			return true
		})
	}
}
