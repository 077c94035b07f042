package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/configs"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/store"
)

// The exit codes (Rule UX-5).
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitHeld    = 3  // held by a guard; for jit request --wait: still pending
	exitDenied  = 4  // check, check-all
	exitChanges = 10 // plan --detailed-exitcode
)

// exit ends a command with a code after everything was said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a mistake in how the command was called or in a file it was given.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// hinted adds what to do to an error.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

type streams struct {
	in       io.Reader
	out, err io.Writer
	// screen is where a person looks at progress; nil where nobody does.
	screen io.Writer
}

// terminal tells whether a person is looking at the stream.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// command is what all subcommands share: the global flags and the streams.
type command struct {
	streams
	config    string
	output    string
	server    string
	tokenFile string
	caFile    string
	quiet     bool
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, s streams, args []string) int {
	c := &command{streams: s}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	return c.finish(err)
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ambit",
		Short: "Directory sync, just-in-time elevation and access decisions",
		Long: `Ambit pulls people and groups from Entra ID and LDAP, maps them by rules to the
teams and roles of environments, grants elevated roles for a time, and answers
who may do what, why, and as of when.

Commands speak to the daemon on this host by its socket, open the store
themselves where no daemon runs, or go to --server with a token.

Exit codes: 0 done, 1 failed or refused, 2 usage or configuration, 3 held by a
guard or still pending, 4 denied (check, check-all), 10 changes (plan
--detailed-exitcode).`,
		Example:           "  ambit demo\n  ambit --config /etc/ambit/ambit.yaml serve",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Version:           version,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.config, "config", envOr("AMBIT_CONFIG", "ambit.yaml"), "configuration `FILE` ($AMBIT_CONFIG)")
	flags.StringVarP(&c.output, "output", "o", "text", "how to print the result: text, json or yaml")
	flags.StringVar(&c.server, "server", os.Getenv("AMBIT_SERVER"), "`URL` of a daemon elsewhere ($AMBIT_SERVER)")
	flags.StringVar(&c.tokenFile, "token-file", os.Getenv("AMBIT_TOKEN_FILE"), "`FILE` with the access token for --server ($AMBIT_TOKEN_FILE)")
	flags.StringVar(&c.caFile, "ca-file", os.Getenv("AMBIT_CA_FILE"), "`FILE` with the certificates that --server is verified with ($AMBIT_CA_FILE)")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "no progress")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch c.output {
		case "text", "json", "yaml":
			return nil
		}
		return usageError{fmt.Errorf("--output %q: want text, json or yaml", c.output)}
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		c.serve(), c.demo(), c.sync(), c.plan(), c.whatIf(), c.runs(), c.verify(), c.liveCheck(), c.validate(), c.check(), c.checkAll(), c.explain(), c.who(), c.what(), c.path(), c.rights(), c.columns(), c.filter(), c.diff(), c.jit(), c.audit(), c.health(), c.version(),
	)
	return root
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// finish prints an error for people, with what to do about it, and chooses the
// exit code.
func (c *command) finish(err error) int {
	var (
		code    exit
		usage   usageError
		faults  document.Faults
		problem *api.Problem
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &faults):
		fmt.Fprintln(c.err, faults.Error())
		fmt.Fprintf(c.err, "ambit: error: %d %s; nothing was changed\n", len(faults), plural(len(faults), "fault", "faults"))
		return exitUsage
	case errors.As(err, &problem) && strings.HasSuffix(problem.Type, ":invalid-files"):
		text, _ := problem.Members["text"].(string)
		fmt.Fprintf(c.err, "%s\nambit: error: %s\n", plain(text), plain(problem.Detail))
		return exitUsage
	case errors.As(err, &problem):
		fmt.Fprintf(c.err, "ambit: error: %s (%s)\n", plain(problem.Detail), strings.TrimPrefix(problem.Type, "urn:ambit:problem:"))
		for _, f := range problem.Errors {
			fmt.Fprintf(c.err, "  %s: %s\n", plain(f.Pointer), plain(f.Detail))
		}
		if hint, ok := problem.Members["hint"].(string); ok && hint != "" {
			fmt.Fprintf(c.err, "ambit: hint: %s\n", plain(hint))
		}
		return exitFailed
	}
	fmt.Fprintf(c.err, "ambit: error: %s\n", plain(err.Error()))
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(c.err, "ambit: hint: %s\n", hint)
	}
	// cobra's own complaints, such as an unknown command, have no type.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag(s)") || strings.Contains(err.Error(), "arg(s)") {
		return exitUsage
	}
	return exitFailed
}

func hintFor(err error) string {
	var h hinted
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.Is(err, store.ErrLocked):
		return "stop the other process, or speak to it with --server URL --token-file FILE"
	case errors.Is(err, store.ErrNewerSchema):
		return "run the newer version of Ambit that wrote this store, or restore a backup from before the upgrade"
	case errors.Is(err, store.ErrReadOnly):
		return "free space on the disk, or make the store's folder writable for this user"
	}
	return ""
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// print writes a result: as JSON or YAML where asked, else by text.
func (c *command) print(v any, text func(io.Writer) error) error {
	switch c.output {
	case "json":
		enc := json.NewEncoder(c.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	case "yaml":
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if b, err = yaml.JSONToYAML(b); err != nil {
			return err
		}
		_, err = c.out.Write(b)
		return err
	}
	return text(c.out)
}

// load reads the configuration.
func (c *command) load() (*configs.Config, error) {
	config, err := configs.Load(c.config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError{hinted{err, "name the configuration with --config FILE; configs/ has examples"}}
	}
	return config, err
}

// plain makes text from outside safe to print: control characters would speak to
// the terminal (Rule SEC-6).
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r) {
			return '�'
		}
		return r
	}, s)
}

// line is plain for one line or one cell of a table: text from outside must not
// begin another.
func line(s string) string {
	return strings.NewReplacer("\n", "�", "\t", "�", "\u2028", "�", "\u2029", "�").Replace(plain(s))
}
