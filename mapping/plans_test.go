package mapping_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/mapping"
)

func TestRule_GRAPH_34_plans_are_accepted_by_name_or_id(t *testing.T) {
	m := newMirror("entra")
	m.put("entra", user("ann", "plans=6ea4c1ef-c259-46df-bce2-943342cd3cb2"))
	m.put("entra", user("ben", "plans=28b0fa46-c39a-4188-89e2-58e979a6b014"))
	for _, accept := range []string{"DYN365_CDS_P2", "dyn365_cds_p2", "6ea4c1ef-c259-46df-bce2-943342cd3cb2", "6EA4C1EF-C259-46DF-BCE2-943342CD3CB2", "DYN365_CDS_VIRAL, DYN365_CDS_P2"} {
		r := rules(t, "environments: {sales-prod: {licences: {accept: ["+accept+"]}}}\nrules:"+everybody)
		require.Equal(t, []string{"user entra:ann ann in n licensed", "user entra:ben ben in n"}, print(mapping.New(r, m, nothing())), accept)
	}
}
