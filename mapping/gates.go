package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// gateState is one source's part of an environment security group.
type gateState struct {
	world      *world
	source     *source
	rule       *gate
	nested     Nested
	candidates set[directory.ObjectID] // groups that the rule may mean
	expansion  *expansion              // of the group, or nil while there is not exactly one
	judged     bool                    // as it was when people were settled last
	problem    string
}

func newGateState(w *world, s *source, g *gate) *gateState {
	return &gateState{world: w, source: s, rule: g, nested: g.nested, candidates: set[directory.ObjectID]{}}
}

func (g *gateState) candidate(id directory.ObjectID, yes bool) {
	if yes {
		g.candidates.add(id)
	} else {
		delete(g.candidates, id)
	}
}

// judges tells whether the group can be believed: it is there, it is one, and it
// has somebody in it (Rule ESG-6).
func (g *gateState) judges() bool { return g.problem == "" }

// settleRoot finds the group that the rule means.
func (u *update) settleRoot(g *gateState) {
	var root directory.ObjectID
	g.problem = ""
	switch len(g.candidates) {
	case 0:
		g.problem = "it does not exist, or Ambit may not read it"
	case 1:
		for id := range g.candidates {
			root = id
		}
		o, _ := u.view.Object(g.source.id, root)
		if _, ok := teamType(o); !ok {
			g.problem = fmt.Sprintf("it is of kind %q: only security groups and Microsoft 365 groups can admit", o.Get(directory.AttrGroupKind))
			root = ""
		}
	default:
		ids := slices.Sorted(maps.Keys(g.candidates))
		g.problem = fmt.Sprintf("%d groups are called so (%s …): name it by \"id:%s\" or by its DN", len(ids), ids[0], ids[0])
	}
	if g.expansion != nil && g.expansion.root.id == root {
		return
	}
	if x := g.expansion; x != nil {
		for a := range x.members {
			u.setMember(x, a, nil)
		}
		u.dropExpansion(x)
		g.expansion = nil
	}
	if root != "" {
		g.expansion = &expansion{root: node{g.source, root}, nested: g.nested != NestedNone, members: map[*account]*step{}, gate: g}
		u.expand.add(g.expansion)
	}
}

// settleGates decides which gates can be believed, once their members are known.
func (u *update) settleGates() {
	for _, w := range u.worlds {
		gate := Gate{RequireLicence: w.requireLicence}
		for _, g := range w.gates {
			if g.expansion != nil && len(g.expansion.members) == 0 {
				g.problem = "it is empty"
			}
			if g.judges() != g.judged {
				g.judged = g.judges()
				for _, p := range w.people {
					if p.source == g.source {
						u.resettle(p)
					}
				}
			}
			t := topic{NoGate, w.id, g.source.id, g.rule.group.text}
			u.findings.set(t)
			if g.problem != "" {
				u.findings.set(t, Finding{
					Kind: NoGate, Environment: w.id, Source: g.source.id, Name: g.rule.group.text, Holds: true,
					Text: fmt.Sprintf("the security group %q admits nobody: %s", g.rule.group.text, g.problem),
					Hint: "who was admitted stays so, nobody else is, until the group is back or the mapping names another",
				})
			}
			if gate.SecurityGroup == nil {
				gate.SecurityGroup = u.gateRef(g)
			}
		}
		if gate.RequireLicence != w.gate.RequireLicence || !sameRef(gate.SecurityGroup, w.gate.SecurityGroup) {
			w.gate = gate
			u.mark(w.id, access.KindEnvironment, string(w.id))
		}
	}
}

// gateRef names the group for the environment. While it cannot be found the
// environment keeps the one it has: without any it would admit everybody.
func (u *update) gateRef(g *gateState) *access.GroupRef {
	if g.expansion != nil {
		return &access.GroupRef{Source: string(g.source.id), Group: string(g.expansion.root.id), Name: g.source.groups[g.expansion.root.id].name}
	}
	if now := u.state(g.world.id).Environment.SecurityGroup; now != nil && now.Source == string(g.source.id) {
		return now
	}
	id, _ := strings.CutPrefix(g.rule.group.text, "id:")
	return &access.GroupRef{Source: string(g.source.id), Group: id, Name: g.rule.group.text}
}

func sameRef(a, b *access.GroupRef) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
