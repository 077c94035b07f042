package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// String renders the explanation for people, one line an origin.
func (e Explanation) String() string {
	var b strings.Builder
	verdict := "DENIED"
	if e.Allowed {
		verdict = "ALLOWED"
	}
	fmt.Fprintf(&b, "%s: %s, %s", verdict, e.User, e.asked())
	if !e.Allowed && e.OfImpersonator {
		b.WriteString(": for the one who acts on behalf of them")
	}
	if !e.Allowed {
		fmt.Fprintf(&b, ": %s", e.Reason.sentence())
	}
	if len(e.Columns) > 0 {
		fmt.Fprintf(&b, ": %s", strings.Join(e.Columns, ", "))
	}
	fmt.Fprintf(&b, " [%s]\n", strings.Join(e.Rules, ", "))
	for _, o := range e.Origins {
		fmt.Fprintf(&b, "  by %s\n", o)
	}
	for _, r := range e.Requires {
		met := "yes"
		if !r.Met {
			met = "no"
		}
		fmt.Fprintf(&b, "  needs: %s: %s [%s]\n", r.Text, met, r.Rule)
		for _, o := range r.Origins {
			fmt.Fprintf(&b, "    by %s\n", o)
		}
	}
	if !e.Allowed {
		for _, p := range e.Privileges {
			fmt.Fprintf(&b, "  has, but it does not suffice: %s\n", p)
		}
		for _, m := range e.Missing {
			fmt.Fprintf(&b, "  would be allowed with: %s\n", m)
		}
		if e.MoreMissing {
			b.WriteString("  and in more ways than these\n")
		}
	}
	if e.Impersonator != nil {
		b.WriteString("  asked on behalf of them by:\n")
		for line := range strings.Lines(e.Impersonator.String()) {
			b.WriteString("    " + line)
		}
	}
	if !e.ValidUntil.IsZero() {
		fmt.Fprintf(&b, "  until %s, when a window begins or ends\n", e.ValidUntil.Format(time.RFC3339Nano))
	}
	return b.String()
}

// asked tells the question.
func (e Explanation) asked() string {
	switch {
	case e.Privilege != "":
		return fmt.Sprintf("privilege %q", e.Privilege)
	case e.Record == nil:
		return fmt.Sprintf("%s on table %s", e.Action, e.Table)
	}
	s := fmt.Sprintf("%s on a record of table %s", e.Action, e.Table)
	if e.Record.ID != "" {
		s = fmt.Sprintf("%s on record %q of table %s", e.Action, e.Record.ID, e.Table)
	}
	if e.Record.Owner != (access.Principal{}) {
		s += fmt.Sprintf(", owned by %s %s", e.Record.Owner.Kind, Named{e.Record.Owner.ID, e.Record.OwnerName})
	}
	if e.Record.BusinessUnit != (Named{}) {
		s += fmt.Sprintf(", in business unit %s", e.Record.BusinessUnit)
	}
	return s
}

func (r Reason) sentence() string {
	switch r {
	case UserDisabled:
		return "the user is disabled"
	case BusinessUnitDisabled:
		return "the user's business unit, or one above it, is disabled"
	case NoLicence:
		return "the user has no licence"
	case AccessModeExcludes:
		return "the user's kind or access mode does not allow it"
	case NotInEnvironmentGroup:
		return "the user is not in the environment's security group"
	case NoRole:
		return "the user has no role in force"
	case MayNotImpersonate:
		return "the privilege to act on behalf of another user is not held"
	case NoColumnAccess:
		return "a secured column is named that no column security profile allows"
	case NoPrivilege:
		return "no role in force has the privilege"
	case NoAccess:
		return "the privilege is there, but nothing reaches the record"
	}
	return r.String()
}

// String tells name and id.
func (n Named) String() string {
	if n.Name == "" || n.Name == n.ID {
		return fmt.Sprintf("%q", n.ID)
	}
	return fmt.Sprintf("%q (%s)", n.Name, n.ID)
}

func (o Origin) String() string {
	var s string
	switch o.Way {
	case ByShare:
		s = "share with " + o.Share.Principal.Kind.String()
		if o.Share.Team != nil {
			s = "share with " + o.Share.Team.String()
		}
		s += windowText(o.Share.Window)
	case ByHierarchy:
		s = o.Report.String()
	case ByOwnership:
		s = "ownership"
		if o.Owner != nil {
			s += " of " + o.Owner.String()
		}
		s += ", with " + o.Source.String()
	case ByRole, ByPrivilege:
		s = o.Source.String()
	}
	return fmt.Sprintf("%s [%s]", s, strings.Join(o.Rules, ", "))
}

func (r Report) String() string {
	s := "report " + r.User.String()
	if len(r.Chain) > 2 {
		between := make([]string, 0, len(r.Chain))
		for _, n := range r.Chain[1 : len(r.Chain)-1] {
			between = append(between, n.short())
		}
		s += " below " + strings.Join(between, ", then ")
	}
	switch {
	case r.By == ByShare && r.Share.Team != nil:
		s += ", by share with " + r.Share.Team.String() + windowText(r.Share.Window)
	case r.By == ByShare:
		s += ", by share with them" + windowText(r.Share.Window)
	case r.Owner != nil:
		s += ", by ownership of " + r.Owner.String()
	default:
		s += ", by ownership"
	}
	return s
}

func (s Source) String() string {
	t := fmt.Sprintf("role %s", s.Role)
	if s.Team != nil {
		t += " of " + s.Team.String()
	}
	t += fmt.Sprintf(", depth %s", s.Depth)
	if s.Bounded {
		t += " (as approved; the role now has more)"
	}
	t += fmt.Sprintf(" from %s", s.BusinessUnit)
	if s.Request != "" {
		t += ", by request " + s.Request
	}
	return t + windowText(s.Window)
}

func (v Via) String() string {
	t := fmt.Sprintf("team %s", Named{string(v.ID), v.Name})
	switch {
	case v.Default:
		t = fmt.Sprintf("the default team of business unit %q", v.Name)
	case v.Group != nil:
		t += fmt.Sprintf(" of group %s in %s", Named{v.Group.Group, v.Group.Name}, v.Group.Source)
		if v.Membership.Path != "" {
			t += ", through " + v.Membership.Path
		}
	}
	return t
}

func windowText(w access.Window) string {
	s := ""
	if !w.Start.IsZero() {
		s += ", from " + w.Start.Format(time.RFC3339Nano)
	}
	if !w.End.IsZero() {
		s += ", until " + w.End.Format(time.RFC3339Nano)
	}
	return s
}

func (m Missing) String() string {
	parts := make([]string, len(m.Facts))
	for i, f := range m.Facts {
		parts[i] = f.String()
	}
	return strings.Join(parts, " and ")
}

// String tells the fact in a phrase.
func (f Fact) String() string {
	who := f.Principal.Kind.String()
	if f.Principal.Kind != access.Everybody {
		who += " " + Named{f.Principal.ID, f.Name}.String()
	}
	switch f.Kind {
	case EnableUser:
		return who + " enabled"
	case EnableUnit:
		return "business unit " + f.BusinessUnit.String() + " enabled"
	case GiveLicence:
		return "a licence for " + who
	case Admit:
		return who + " in the environment's security group"
	case GiveRole:
		return fmt.Sprintf("role %s at %s for %s", f.Role, f.BusinessUnit, who)
	case AddToTeam:
		return fmt.Sprintf("%s in team %s", who, f.Team)
	case ShareWith:
		return fmt.Sprintf("the record shared with %s for %s", who, f.Right)
	case GiveOwnership:
		return "the record owned by " + who
	case LinkManager:
		return fmt.Sprintf("%s reporting to %s", who, f.Manager)
	case GiveProfile:
		return fmt.Sprintf("column security profile %s for %s", f.Profile, who)
	}
	return string(f.Kind)
}

// String tells the line as "14 users gain write on account at depth organization".
func (l Line) String() string {
	verb, people := "lose", "users"
	if l.Gain {
		verb = "gain"
	}
	if l.Users == 1 {
		verb, people = verb+"s", "user"
	}
	if l.Miscellaneous != "" {
		return fmt.Sprintf("%d %s %s the privilege %s", l.Users, people, verb, l.Miscellaneous)
	}
	s := fmt.Sprintf("%d %s %s %s on %s at depth %s", l.Users, people, verb, list(strings.Split(l.Actions.String(), ",")), l.Table, l.Depth)
	if len(l.BusinessUnits) > 0 {
		s += " in " + some(l.BusinessUnits)
	}
	if len(l.Teams) > 0 {
		s += " for records of " + some(l.Teams)
	}
	return s
}

func list(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}

// some lists the first few names.
func some(names []Named) string {
	const few = 3
	parts := make([]string, 0, few+1)
	for _, n := range names[:min(few, len(names))] {
		parts = append(parts, n.short())
	}
	if more := len(names) - few; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return list(parts)
}

func (n Named) short() string {
	if n.Name == "" {
		return n.ID
	}
	return n.Name
}
