package mapping

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/ambit-iam/ambit/document"
)

//go:embed plans.csv
var plansFile string

// planIDs are the ids of well-known service plans, by name in capitals.
var planIDs = sync.OnceValue(func() map[string]string {
	r := csv.NewReader(strings.NewReader(plansFile))
	r.Comment, r.FieldsPerRecord = '#', 2
	rows, err := r.ReadAll()
	if err != nil {
		panic("internal error: plans.csv: " + err.Error())
	}
	ids := make(map[string]string, len(rows))
	for _, row := range rows {
		ids[row[0]] = row[1]
	}
	return ids
})

var planID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// plan reads a service plan's id, or the name of a well-known one, without regard to
// case (Rule GRAPH-34).
func (c *compiler) plan(text, path string) string {
	if id := strings.ToLower(text); planID.MatchString(id) {
		return id
	}
	id, ok := planIDs()[strings.ToUpper(text)]
	if !ok {
		hint := "give the id of a plan that has no name here: the servicePlanId that Graph shows of a user who has it"
		if near := document.Near(text, slices.Collect(maps.Keys(planIDs())), 3); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "? else " + hint
		}
		c.fault(path, fmt.Sprintf("unknown service plan %q", text), hint)
	}
	return id
}
