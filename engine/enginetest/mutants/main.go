// Command mutants breaks each rule in the engine in turn, by a small change of its
// text, and tells which of these faults the engine's tests notice. What they do not
// notice they do not prove.
//
// The files stay as they are: the compiler reads the changed text in their place.
// Run it at the root of the repository, with parts of rule ids to pick some.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// mutant is a fault: in the file, the text that stands there once becomes another.
type mutant struct {
	Rule, File, Old, New string
}

// proof is what must notice a fault, the quick part first: the decision tables and
// random questions, fewer than usual, then all other tests of the engine.
var proof = [][]string{
	{"-run", `^TestRule_[A-Z_]+_[0-9]+$|^TestRule_EVAL_12_Engine`},
	{"-skip", `^TestRule_[A-Z_]+_[0-9]+$|^TestRule_EVAL_12_Engine`},
}

const (
	randomQuestions = "AMBIT_RANDOM=30000"
	atOnce          = 2
)

// outcome is what became of a mutant.
type outcome struct {
	mutant
	noticed bool
	by      string // the first test that failed
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(pick []string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if out, err := test(context.Background(), root, ""); err != nil {
		return fmt.Errorf("the tests fail without any fault: %w\n%s", err, out)
	}
	var chosen []mutant
	for _, m := range mutants {
		if len(pick) == 0 || slices.ContainsFunc(pick, func(p string) bool { return strings.Contains(m.Rule, p) }) {
			chosen = append(chosen, m)
		}
	}
	outcomes := make([]outcome, len(chosen))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, m := range chosen {
		group.Go(func() error {
			var err error
			if outcomes[i], err = m.try(root); err != nil {
				return err
			}
			o := outcomes[i]
			fmt.Printf("%-9s %-8s %s\n", cmp.Or(map[bool]string{true: "noticed"}[o.noticed], "MISSED"), m.Rule, cmp.Or(o.by, m.Old+"  =>  "+m.New))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	noticed := 0
	for _, o := range outcomes {
		if o.noticed {
			noticed++
		}
	}
	fmt.Printf("%d of %d faults noticed (%.1f %%)\n", noticed, len(outcomes), 100*float64(noticed)/float64(max(1, len(outcomes))))
	if noticed < len(outcomes) {
		return errors.New("some faults are not noticed")
	}
	return nil
}

// try runs the tests with the fault.
func (m mutant) try(root string) (outcome, error) {
	o := outcome{mutant: m}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(root, "engine", m.File)
	text, err := m.apply(file)
	if err != nil {
		return o, err
	}
	changed, overlay := filepath.Join(dir, m.File), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err := errors.Join(err, os.WriteFile(changed, []byte(text), 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
		return o, err
	}
	out, err := test(context.Background(), root, overlay)
	o.noticed = err != nil
	if strings.Contains(out, "[build failed]") {
		return o, fmt.Errorf("%s: %q => %q does not compile:\n%s", m.File, m.Old, m.New, out)
	}
	if strings.Contains(out, "panic: ") {
		o.by = "a panic"
	}
	for _, line := range strings.Split(out, "\n") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			o.by = name
			break
		}
	}
	return o, nil
}

// apply changes the file's text.
func (m mutant) apply(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(b), m.Old); n != 1 {
		return "", fmt.Errorf("%s: %q stands there %d times, not once: bring the list up to date", m.File, m.Old, n)
	}
	return strings.Replace(string(b), m.Old, m.New, 1), nil
}

// test runs the proof until a part of it fails.
func test(ctx context.Context, root, overlay string) (string, error) {
	var all strings.Builder
	for _, part := range proof {
		args := append([]string{"test", "-count=1", "-failfast", "-timeout", "20m", "-vet=off", "-ldflags=-s -w"}, part...)
		if overlay != "" {
			args = append(args, "-overlay", overlay)
		}
		cmd := exec.CommandContext(ctx, "go", append(args, "./engine")...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), randomQuestions, "AMBIT_FOUND=no")
		out, err := cmd.CombinedOutput()
		all.Write(out)
		if err != nil {
			return all.String(), err
		}
	}
	return all.String(), nil
}
