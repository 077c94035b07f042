package api

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/ambit-iam/ambit/engine"
)

// How a picture of paths is laid out, in SVG's own units.
const (
	boxWidth  = 216
	boxHeight = 46
	rowHeight = 62
	gap       = 64 // between columns: an arrow with its head
	margin    = 20
	// A picture is for people: what is beyond is counted in its last line.
	drawnTeams = 40
	drawnRoles = 12 // of one team
	drawnSteps = 8  // groups between the team's and the user
	boxLetters = 25 // of a box's first line
	subLetters = 32 // of its second line
)

// The fills and strokes of boxes: who, groups of a directory, teams, roles.
var (
	asPerson = [2]string{"#fff", "#345"}
	asGroup  = [2]string{"#fff6e5", "#a60"}
	asTeam   = [2]string{"#eef4ff", "#345"}
	asRole   = [2]string{"#e8f6ec", "#276738"}
)

// drawing is an SVG in the making. It has attributes only, no styles: those the
// server's own content security policy would take away.
type drawing struct{ strings.Builder }

// picture draws the paths from the user on the left to roles on the right (Rule
// PLAN-8). What directories call their objects is text in it and nothing else (Rule
// SEC-6).
func picture(p engine.Paths) string {
	teams := p.Teams[:min(len(p.Teams), drawnTeams)]
	deepest := 0
	for _, t := range teams {
		deepest = max(deepest, len(columnsOf(t)))
	}
	column := func(n int) int { return margin + n*(boxWidth+gap) }
	groups, roles := deepest, deepest+2 // the user is in column 0, groups end in column deepest, teams follow
	var d, boxes drawing
	y := margin + 16
	first := y
	row := func(n int) int { return y + n*rowHeight }
	// The user's box is drawn last, since its height is known then.
	var joins []int
	for i, r := range p.Own {
		if i == drawnRoles {
			boxes.note(column(roles), row(0), fmt.Sprintf("… and %d more roles of their own", len(p.Own)-i))
			y += rowHeight
			break
		}
		boxes.arrow(column(0)+boxWidth, row(0)+boxHeight/2, column(roles), row(0)+boxHeight/2, "has")
		boxes.role(column(roles), row(0), r)
		joins = append(joins, y)
		y += rowHeight
	}
	for _, t := range teams {
		through := columnsOf(t)
		at, from := column(0)+boxWidth, groups-len(through)+1
		middle := row(0) + boxHeight/2
		for i, c := range through {
			x := column(from + i)
			boxes.arrow(at, middle, x, middle, "")
			boxes.box(x, row(0), asGroup, c[0], c[1])
			at = x + boxWidth
		}
		x := column(groups + 1)
		rule := ""
		if t.Team.Group != nil {
			rule = "rule"
		}
		boxes.arrow(at, middle, x, middle, rule)
		boxes.box(x, row(0), asTeam, teamTitle(t), teamDetail(t))
		for i, r := range t.Roles {
			if i == drawnRoles {
				boxes.note(column(roles), row(i), fmt.Sprintf("… and %d more roles", len(t.Roles)-i))
				break
			}
			boxes.arrow(x+boxWidth, middle, column(roles), row(i)+boxHeight/2, "")
			boxes.role(column(roles), row(i), r)
		}
		joins = append(joins, y)
		y += rowHeight * max(1, min(len(t.Roles), drawnRoles+1))
	}
	height := boxHeight
	if len(joins) > 0 {
		height = joins[len(joins)-1] - first + boxHeight
	}
	who := p.User.Name
	if who == "" {
		who = p.Login
	}
	boxes.tall(column(0), first, height, asPerson, who, p.Login)
	more := ""
	if n := len(p.Teams) - len(teams); n > 0 {
		more = fmt.Sprintf("… and %d more teams", n)
	}
	if p.Reason != engine.Allowed {
		more = strings.TrimSpace(fmt.Sprintf("gets in nowhere: %s. %s", p.Reason, more))
	}
	if more != "" {
		boxes.note(column(0), y, more)
		y += 24
	}
	width := column(roles) + boxWidth + margin
	fmt.Fprintf(&d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s" font-family="system-ui, sans-serif" font-size="14" text-anchor="middle">`+"\n",
		width, y+margin/2, escaped("How "+p.Login+" comes to be in teams, and which roles these give."))
	fmt.Fprintf(&d, `<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#345"/></marker></defs>`+"\n")
	fmt.Fprintf(&d, `<rect width="%d" height="%d" fill="#fafbfc"/>`+"\n", width, y+margin/2)
	d.heading(column(0), "person")
	if groups > 0 {
		d.heading(column(groups), "group of the directory")
	}
	d.heading(column(groups+1), "team")
	d.heading(column(roles), "role, at business unit")
	d.WriteString(boxes.String())
	d.WriteString("</svg>\n")
	return d.String()
}

// columnsOf are the groups on the way to a team, from the user's side on, each with
// a second line.
func columnsOf(t engine.TeamPath) (out [][2]string) {
	for i, name := range slices.Backward(t.Through) {
		if len(out) == drawnSteps {
			out = append(out, [2]string{fmt.Sprintf("… %d more groups", i+1), "of which each is in the next"})
			break
		}
		out = append(out, [2]string{name, "nested group"})
	}
	if g := t.Team.Group; g != nil {
		name := g.Name
		if name == "" {
			name = g.Group
		}
		out = append(out, [2]string{name, g.Membership.String() + ", " + g.Source})
	}
	return out
}

func teamTitle(t engine.TeamPath) string {
	if t.Team.Default {
		return "default team"
	}
	return t.Team.Name
}

// teamDetail names the rule that makes the membership, or the team's unit.
func teamDetail(t engine.TeamPath) string {
	if rule := t.Team.Membership.Rule; rule != "" {
		return "by rule " + rule
	}
	return "of " + named(t.BusinessUnit)
}

func named(n engine.Named) string {
	if n.Name == "" {
		return n.ID
	}
	return n.Name
}

func (d *drawing) role(x, y int, r engine.Source) {
	detail := "at " + named(r.BusinessUnit)
	if !r.Window.End.IsZero() {
		detail += ", until " + r.Window.End.UTC().Format("2006-01-02 15:04Z")
	}
	d.box(x, y, asRole, named(r.Role), detail)
}

func (d *drawing) box(x, y int, as [2]string, title, detail string) {
	d.tall(x, y, boxHeight, as, title, detail)
}

// tall draws a box with two lines in its middle, and both whole as what a pointer
// shows.
func (d *drawing) tall(x, y, height int, as [2]string, title, detail string) {
	middle := y + height/2
	fmt.Fprintf(d, `<g><title>%s, %s</title><rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="%s" stroke-width="1.5"/>`,
		escaped(title), escaped(detail), x, y, boxWidth, height, as[0], as[1])
	fmt.Fprintf(d, `<text x="%d" y="%d" fill="#123">%s</text><text x="%d" y="%d" fill="#456" font-size="11.5">%s</text></g>`+"\n",
		x+boxWidth/2, middle-3, escaped(shortened(title, boxLetters)), x+boxWidth/2, middle+15, escaped(shortened(detail, subLetters)))
}

func (d *drawing) arrow(x1, y1, x2, y2 int, label string) {
	bend := (x1 + x2) / 2
	if y1 == y2 {
		fmt.Fprintf(d, `<path d="M%d %dH%d" stroke="#345" stroke-width="1.5" fill="none" marker-end="url(#a)"/>`, x1, y1, x2-1)
	} else {
		fmt.Fprintf(d, `<path d="M%d %dC%d %d %d %d %d %d" stroke="#345" stroke-width="1.5" fill="none" marker-end="url(#a)"/>`, x1, y1, bend, y1, bend, y2, x2-1, y2)
	}
	if label != "" {
		fmt.Fprintf(d, `<text x="%d" y="%d" fill="#456" font-size="11.5">%s</text>`, bend, y2-5, label)
	}
	d.WriteByte('\n')
}

func (d *drawing) heading(x int, text string) {
	fmt.Fprintf(d, `<text x="%d" y="%d" fill="#456" font-size="11.5">%s</text>`+"\n", x+boxWidth/2, margin, text)
}

func (d *drawing) note(x, y int, text string) {
	fmt.Fprintf(d, `<text x="%d" y="%d" fill="#456" font-size="11.5" text-anchor="start">%s</text>`+"\n", x, y+14, escaped(text))
}

// shortened keeps the first letters of a text that is too long for its box.
func shortened(text string, letters int) string {
	if r := []rune(text); len(r) > letters {
		return string(r[:letters-1]) + "…"
	}
	return text
}

// escaped is text from outside as text of XML: no element, no control character, and
// none that turns the direction of what follows.
func escaped(text string) string {
	var b strings.Builder
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	_ = xml.EscapeText(&b, []byte(clean)) // a builder takes all
	return b.String()
}
