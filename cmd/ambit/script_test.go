package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/testdata/company"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ambit": main})
}

// TestScripts runs the scripts of testdata/script. Each begins in a folder with
// the configuration of testdata/company, and an LDAP directory that it can break.
func TestScripts(t *testing.T) {
	type server struct {
		*ldaptest.Server
		close func() error // as often as you like
	}
	var servers sync.Map // by a script's folder
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			// The store is outside of $WORK, whose name can be longer than a socket's may be.
			dir, err := os.MkdirTemp("", "ambit-script-")
			if err != nil {
				return err
			}
			s, err := ldaptest.Start(env.WorkDir, company.Small().Entries())
			if err != nil {
				return err
			}
			closing := sync.OnceValue(s.Close)
			servers.Store(env.WorkDir, server{s, closing})
			env.Defer(func() { require.NoError(t, errors.Join(closing(), os.RemoveAll(dir))) })
			env.Setenv("STORE", filepath.Join(dir, "ambit.db"))
			env.Setenv("SALES_FRANCE", company.Small().Group(company.SalesFrance).DN())
			env.Setenv("LEAVER", company.Small().Person(company.Leaver).DN())
			return fill(env.WorkDir, "{sqlite: "+filepath.Join(dir, "ambit.db")+"}", s)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// code N COMMAND... runs a command, which must end with the exit code.
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				code, exited := 0, (*exec.ExitError)(nil)
				if errors.As(err, &exited) {
					code = exited.ExitCode()
				} else {
					ts.Check(err)
				}
				if fmt.Sprint(code) != args[0] {
					ts.Fatalf("exit code %d, want %s", code, args[0])
				}
			},
			// json FILE...: each holds one JSON document and nothing else.
			"json": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, name := range args {
					if !json.Valid([]byte(ts.ReadFile(name))) {
						ts.Fatalf("%s is no JSON: %s", name, ts.ReadFile(name))
					}
				}
			},
			// directory close | cut | mend | empty GROUP | leave GROUP MEMBER
			"directory": func(ts *testscript.TestScript, _ bool, args []string) {
				found, _ := servers.Load(ts.Getenv("WORK"))
				switch s := found.(server); args[0] {
				case "close":
					ts.Check(s.close())
				case "cut":
					s.Arm(ldaptest.Fault{After: 100, Cut: true})
				case "mend":
					s.Arm(ldaptest.Fault{})
				case "empty":
					s.EmptyGroup(args[1])
				case "leave":
					s.RemoveMember(args[1], args[2])
				default:
					ts.Fatalf("unknown: directory %s", args[0])
				}
			},
			// sql FILE STATEMENT edits a store, as only a stranger would.
			"sql": func(ts *testscript.TestScript, _ bool, args []string) {
				db, err := sql.Open("sqlite", args[0])
				ts.Check(err)
				defer db.Close()
				_, err = db.Exec(args[1])
				ts.Check(err)
			},
			// ready waits until the daemon of the configuration answers.
			"ready": func(ts *testscript.TestScript, _ bool, _ []string) {
				for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
					if ts.Exec("ambit", "health") == nil {
						return
					}
				}
				ts.Fatalf("the daemon is not ready after 20 seconds")
			},
		},
	})
}

// fill writes the configuration of testdata/company into a folder.
func fill(dir, store string, server *ldaptest.Server) error {
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(ldaptest.Password), 0o600); err != nil {
		return err
	}
	words := strings.NewReplacer("STORE", store, "LDAP_URL", server.URL, "LDAP_CA", server.CAFile, "LDAP_PASSWORD", password)
	for _, name := range []string{"ambit.yaml", "model.yaml", "mapping.yaml", "policies.yaml"} {
		b, err := os.ReadFile(filepath.Join(here, "testdata", "company", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(words.Replace(string(b))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// here is the package's folder, in which tests start.
var here = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

func TestRule_UX_4_every_command_says_what_it_does_and_has_an_example(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, cmd.Short)
			require.NotEmpty(t, cmd.Example)
			require.Contains(t, cmd.Example, "ambit ")
			var out bytes.Buffer
			args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
			require.Equal(t, exitDone, run(t.Context(), streams{in: strings.NewReader(""), out: &out, err: &out}, args))
			require.Contains(t, out.String(), "Examples:")
		})
		for _, sub := range cmd.Commands() {
			if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk((&command{}).root())
}

// The tour is the README's first command.
func TestTheDemoHasTheResultsThatItsTourClaims(t *testing.T) {
	ambit, err := binary()
	require.NoError(t, err)
	demo := exec.CommandContext(t.Context(), ambit, "demo", "--once")
	demo.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AMBIT_") })
	out, err := demo.CombinedOutput()
	require.NoError(t, err, "%s", out)
	titles := regexp.MustCompile(`(?m)^── (\d)\. .+$`).FindAllStringSubmatch(string(out), -1)
	require.Len(t, titles, 6, "%s", out)
	for i, title := range titles {
		require.Equal(t, fmt.Sprint(i+1), title[1])
	}
	require.Contains(t, string(out), "Every step had the result that the tour claims")
}

// The unit is checked with the binary that it would start.
func TestTheSystemdUnitIsValid(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	require.NoError(t, err, "only Debian's own tool can judge the unit; install it with `make servers`")
	ambit, err := binary()
	require.NoError(t, err)
	unit, err := os.ReadFile(filepath.Join("..", "..", "packaging", "systemd", "ambit.service"))
	require.NoError(t, err)
	require.Contains(t, string(unit), "ExecStart=/usr/bin/ambit ")
	copied := filepath.Join(t.TempDir(), "ambit.service")
	require.NoError(t, os.WriteFile(copied, bytes.ReplaceAll(unit, []byte("/usr/bin/ambit"), []byte(ambit)), 0o600))
	out, err := exec.Command(analyze, "verify", copied).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "ambit.service:", "a complaint")
	out, err = exec.Command(analyze, "security", "--offline=true", "--threshold=20", copied).CombinedOutput()
	require.NoError(t, err, "its exposure is above 2.0:\n%s", out)
}
