package mapping

import (
	"fmt"
	"time"

	"github.com/ambit-iam/ambit/document"
)

// Guards say how much a plan may take away before it waits for a person. What a
// file leaves out has the strict value of DefaultGuards: absence never means
// that a guard is off.
type Guards struct {
	RemoveMembers Limit `yaml:"remove_members" json:"remove_members"` // memberships of teams
	RemoveRoles   Limit `yaml:"remove_roles" json:"remove_roles"`     // role assignments
	RemoveTeams   Limit `yaml:"remove_teams" json:"remove_teams"`
	RemoveUsers   Limit `yaml:"remove_users" json:"remove_users"`
	// ShutOutUsers counts users who stay and lose enabled, licensed or admitted.
	ShutOutUsers Limit `yaml:"shut_out_users" json:"shut_out_users"`
	// EmptyTeam is the number of members from which on a team that would lose all
	// of them holds the plan; at least 1.
	EmptyTeam int       `yaml:"empty_team" json:"empty_team"`
	Protected Protected `yaml:"protected" json:"protected"`
	// TeamShare is the largest share of a team's members that it may lose, from 0 to
	// 1; three members are never too many.
	TeamShare  float64    `yaml:"team_share" json:"team_share"`
	Privileged Privileged `yaml:"privileged" json:"privileged"`
	// ShrunkenRead is the largest share of what is mirrored of a source, from 0 to 1,
	// that a full read may lack without a person's word; twenty objects are never too
	// many.
	ShrunkenRead float64 `yaml:"shrunken_read" json:"shrunken_read"`
	// AcceptWithin is how long after a plan was first held a person may accept it
	// without looking again.
	AcceptWithin time.Duration `yaml:"accept_within" json:"accept_within"`
}

// Privileged says of how many users a plan may change, without a person, which
// privileged roles they have: the named ones, and always those that have every
// privilege. Giving counts as taking does.
type Privileged struct {
	Roles []string `yaml:"roles" json:"roles,omitempty"`
	Max   int      `yaml:"max" json:"max"`
}

// Limit is a largest removal by count and by share, in one environment.
type Limit struct {
	Max      int     `yaml:"max" json:"max"`
	MaxShare float64 `yaml:"max_share" json:"max_share"` // from 0 to 1, of all there are
}

// Exceeded tells whether removing n of all needs a person: more than Max, or
// more than MaxShare of all. A few (three) are never too large a share, or a
// small environment could lose nobody.
func (l Limit) Exceeded(n, all int) bool {
	const few = 3
	return n > l.Max || n > few && float64(n) > l.MaxShare*float64(all)
}

// Protected names what a plan never takes away, or takes anything from, without
// a person: roles by name (their assignments), users by login, teams by name.
type Protected struct {
	Roles []string `yaml:"roles" json:"roles,omitempty"`
	Users []string `yaml:"users" json:"users,omitempty"`
	Teams []string `yaml:"teams" json:"teams,omitempty"`
}

// DefaultGuards is what holds where a file says nothing.
func DefaultGuards() Guards {
	return Guards{
		RemoveMembers: Limit{Max: 20, MaxShare: 0.05},
		RemoveRoles:   Limit{Max: 10, MaxShare: 0.05},
		RemoveTeams:   Limit{Max: 5, MaxShare: 0.05},
		RemoveUsers:   Limit{Max: 10, MaxShare: 0.05},
		ShutOutUsers:  Limit{Max: 10, MaxShare: 0.05},
		EmptyTeam:     3,
		Protected:     Protected{Roles: []string{"System Administrator"}},
		TeamShare:     0.5,
		Privileged:    Privileged{Max: 3},
		ShrunkenRead:  0.5,
		AcceptWithin:  24 * time.Hour,
	}
}

// maxAcceptWithin is thirty days.
const maxAcceptWithin = 720 * time.Hour

// check finds values that no guard can have.
func (g Guards) check(doc *document.Document) (faults document.Faults) {
	for name, l := range map[string]Limit{
		"remove_members": g.RemoveMembers, "remove_roles": g.RemoveRoles, "remove_teams": g.RemoveTeams,
		"remove_users": g.RemoveUsers, "shut_out_users": g.ShutOutUsers,
	} {
		path := document.Child("$.guards", name)
		if l.Max < 0 {
			faults = append(faults, doc.Fault(path+".max", fmt.Sprintf("a limit of %d", l.Max), "0 holds every removal"))
		}
		if !(l.MaxShare >= 0 && l.MaxShare <= 1) {
			faults = append(faults, doc.Fault(path+".max_share", fmt.Sprintf("a share of %g", l.MaxShare), "want a number from 0 to 1: 0.05 is five in a hundred"))
		}
	}
	for name, share := range map[string]float64{"team_share": g.TeamShare, "shrunken_read": g.ShrunkenRead} {
		if !(share >= 0 && share <= 1) {
			faults = append(faults, doc.Fault("$.guards."+name, fmt.Sprintf("a share of %g", share), "want a number from 0 to 1: 0.5 is half"))
		}
	}
	if g.Privileged.Max < 0 {
		faults = append(faults, doc.Fault("$.guards.privileged.max", fmt.Sprintf("a limit of %d", g.Privileged.Max), "0 holds every change of a privileged role"))
	}
	if g.AcceptWithin < time.Minute || g.AcceptWithin > maxAcceptWithin {
		faults = append(faults, doc.Fault("$.guards.accept_within", fmt.Sprintf("%s is not a time in which a person can look", g.AcceptWithin), "want 1m to 720h; 24h where it is left out"))
	}
	if g.EmptyTeam < 1 {
		faults = append(faults, doc.Fault("$.guards.empty_team", "want at least 1", "1 holds whenever a team would lose its last members"))
	}
	return faults
}
