// Package page writes one section of docs/benchmarks.md and leaves the others,
// each of which is written by a command of its own.
package page

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Write puts the text in the place of the section that begins with the same
// heading line, or at the end. The path "-" is the standard output.
func Write(path, text string) error {
	if path == "-" {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(replace(string(old), text)), 0o644)
}

// replace puts the section into the page. A section lasts to the next heading of
// the first or second level.
func replace(page, section string) string {
	heading, _, _ := strings.Cut(section, "\n")
	section = strings.TrimSpace(section) + "\n"
	var before, after strings.Builder
	to, found := &before, false
	for text := range strings.Lines(page) {
		switch isHeading := strings.HasPrefix(text, "# ") || strings.HasPrefix(text, "## "); {
		case isHeading && strings.TrimSpace(text) == heading:
			to, found = nil, true
		case isHeading && found:
			to = &after
		}
		if to != nil {
			to.WriteString(text)
		}
	}
	parts := []string{strings.TrimSpace(before.String()), strings.TrimSpace(section), strings.TrimSpace(after.String())}
	return strings.TrimSpace(strings.Join(parts, "\n\n")) + "\n"
}

// Measured says by what, when and on what the figures were measured.
func Measured(command string) string {
	return fmt.Sprintf("Measured by `%s` on %s: %s, %d cores, %s, revision %s.",
		command, time.Now().UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), runtime.Version(), revision())
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for text := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(text, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
