package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
)

func (c *command) checkAll() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "check-all FILE",
		Short: "Ask several questions of one state; exit 0 if all are allowed, 4 if one is denied",
		Long: `Ask several questions, up to 1000, all of one state at one instant.

The file, "-" for the standard input, has one question a line, as JSON with the
members of the API's check, or is the body of the API's check-all. The flags say
about which moment the questions are; without them the body may.

Exit codes: 0 where all are allowed, 4 where one is denied, 1 where one cannot be
judged, which is no answer.`,
		Example: `  ambit check-all --env sales questions.jsonl
  echo '{"user": "amelie.durand@contoso.example", "action": "read", "table": "account"}' | ambit check-all --env sales -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := c.readQuestions(args[0])
			if err != nil {
				return err
			}
			switch m, err := q.moment.read(); {
			case err != nil:
				return err
			case m != (api.Moment{}):
				body.Moment = m
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.Answers
				if err := client.do(cmd.Context(), "POST", q.path("check-all"), body, &a); err != nil {
					return err
				}
				if err := c.print(a, func(w io.Writer) error { return printAnswers(w, body.Questions, a) }); err != nil {
					return err
				}
				return exitOf(a.Answers)
			})
		},
	}
	q.environmentAndMoment(cmd)
	return cmd
}

// exitOf tells scripts that one is denied, and rather that one cannot be judged,
// which is neither.
func exitOf(answers []api.OneAnswer) error {
	var denied error
	for _, a := range answers {
		switch {
		case a.Problem != nil:
			return exit(exitFailed)
		case !a.Allowed:
			denied = exit(exitDenied)
		}
	}
	return denied
}

// readQuestions reads a batch: questions one after another, or one body that has
// them all.
func (c *command) readQuestions(file string) (body api.Questions, err error) {
	src, err := c.readFile(file)
	if err != nil {
		return body, err
	}
	values := json.NewDecoder(bytes.NewReader(src))
	for {
		var value json.RawMessage
		if err := values.Decode(&value); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return body, badLine(file, src, values.InputOffset(), err)
		}
		begin := values.InputOffset() - int64(len(value))
		var members map[string]json.RawMessage
		_ = json.Unmarshal(value, &members) // what is no object is refused below
		if members["questions"] != nil {
			if len(body.Questions) > 0 || values.More() {
				return body, badLine(file, src, begin, errors.New("a body with questions stands alone"))
			}
			if err := strictly(value, &body); err != nil {
				return body, badLine(file, src, begin, err)
			}
			break
		}
		var one api.Question
		if err := strictly(value, &one); err != nil {
			return body, badLine(file, src, begin, err)
		}
		body.Questions = append(body.Questions, one)
	}
	if len(body.Questions) == 0 {
		return body, usageError{hinted{fmt.Errorf("%s: there is no question in it", file), `write one a line, such as {"user": "amelie@example.com", "action": "read", "table": "account"}`}}
	}
	return body, nil
}

// badLine is an error in the value that follows an offset in a file.
func badLine(file string, src []byte, offset int64, err error) error {
	begin := len(src) - len(bytes.TrimLeft(src[offset:], " \t\r\n"))
	return usageError{fmt.Errorf("%s:%d: %w", file, 1+bytes.Count(src[:begin], []byte("\n")), err)}
}

// printAnswers prints one row for each question.
func printAnswers(w io.Writer, questions []api.Question, a api.Answers) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "USER\tASKED\tANSWER")
	for i, one := range a.Answers {
		text := verdict(one)
		if !one.ValidUntil.IsZero() {
			text += ", until " + local(one.ValidUntil)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", line(questions[i].User), line(askedText(questions[i])), text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "(%s)\n", as(a.Answered))
	return err
}

func askedText(q api.Question) string {
	text := q.Privilege
	if text == "" {
		text = q.Action.String() + " " + q.Table
	}
	if r := q.Record; r != nil {
		text += " " + cmp.Or(string(r.ID), "of "+cmp.Or(r.Owner, r.BusinessUnit))
	}
	if q.Impersonator != "" {
		text += ", by " + q.Impersonator
	}
	return text
}
