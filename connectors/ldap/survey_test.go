package ldap

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// surveyed lists all states, and how many came together at most.
func surveyed(t *testing.T, c Config) (states []directory.State, most int, err error) {
	err = source(t, c).Survey(t.Context(), directory.Start{}, func(some []directory.State) error {
		states, most = append(states, some...), max(most, len(some))
		return nil
	})
	return states, most, err
}

// The pages of a survey are as large as the server gives them; one that gives
// usual ones only is asked for those (Rules LDAP-4, LDAP-5).
func TestRule_LDAP_4_a_survey_takes_the_pages_that_the_server_gives(t *testing.T) {
	firm := company.Large(200)
	s := rig.StartSlapd(t, firm.WriteLDIF)
	c := bases
	c.URL, c.CAFile, c.BindDN, c.Password = s.TLSURL, s.CAFile, s.BindDN, password(t, s.Password)
	all, most, err := surveyed(t, c)
	require.NoError(t, err)
	require.Len(t, all, len(firm.People)+len(firm.Groups))
	require.Equal(t, int(c.PageSize), most)
	for _, state := range all {
		require.NotEmpty(t, state.ID)
		require.NotEmpty(t, state.DN)
		require.NotEmpty(t, state.Version)
	}

	s.Restart(t, func() {
		path := filepath.Join(s.Dir, "slapd.conf")
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		limited := bytes.Replace(b, []byte(" size=unlimited"), []byte(" size=unlimited size.pr=50"), 1)
		require.NotEqual(t, b, limited)
		require.NoError(t, os.WriteFile(path, limited, 0o600))
	})
	again, _, err := surveyed(t, c)
	require.NoError(t, err)
	require.Equal(t, all, again)

	c.PageSize = 51
	none, _, err := surveyed(t, c)
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "lift the limit")
	require.Empty(t, none)
}
