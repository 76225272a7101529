package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/push"
)

func dlqCommand(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "See and replay messages that could not be pushed to a service",
		Long: `dlq is about dead letters: messages that were pushed to a service, and refused for
good or too often. They are listed, with the reason, until they are replayed. With the
embedded broker or JetStream they are kept for as long as other messages, the setting
max_age of --broker, but in a stream of their own, of a quarter of max_bytes: when that
is full, the oldest go.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for goapi dlq; want list, show or replay", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(dlqListCommand(w), dlqShowCommand(w), dlqReplayCommand(w))
	return cmd
}

func dlqListCommand(w world) *cobra.Command {
	var (
		f      adminFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters, the oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			list, err := c.DeadLetters(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(w.out, list)
			}
			return printDeadLetters(w.out, list)
		},
	}
	f.add(cmd, w)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of a table")
	return cmd
}

func printDeadLetters(out io.Writer, list *push.DeadLetterList) error {
	if len(list.DeadLetters) == 0 {
		_, err := fmt.Fprintln(out, "There is no dead letter.")
		return err
	}
	if list.More > 0 {
		fmt.Fprintf(out, "%d older ones are not listed.\n\n", list.More)
	}
	t := newTable(out, "ID", "TIME", "SERVICE", "TOPIC", "ATTEMPTS", "REASON")
	for _, l := range list.DeadLetters {
		t.row(l.ID, l.Time.Local().Format(time.DateTime), l.Service, l.Topic, strconv.Itoa(l.Attempts), l.Reason)
	}
	return t.flush()
}

func dlqShowCommand(w world) *cobra.Command {
	var (
		f   adminFlags
		raw bool
	)
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Print a dead letter with its header and body",
		Args:  fromTo(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			l, err := c.DeadLetter(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if raw {
				_, err := w.out.Write(l.Body)
				return err
			}
			return printDeadLetter(w.out, l)
		},
	}
	f.add(cmd, w)
	cmd.Flags().BoolVar(&raw, "raw", false, "print the body alone, as it is")
	return cmd
}

// printDeadLetter prints what happened, then the message as a line of JSON.
func printDeadLetter(out io.Writer, l *push.DeadLetter) error {
	t := newTable(out, "ID", l.ID)
	t.row("SERVICE", l.Service)
	t.row("ENDPOINT", l.Endpoint)
	t.row("REASON", l.Reason)
	t.row("ATTEMPTS", strconv.Itoa(l.Attempts))
	t.row("PUBLISHED", l.Published.Local().Format(time.DateTime))
	t.row("POSITION", l.Position)
	t.row("GIVEN UP", l.Time.Local().Format(time.DateTime))
	t.row("SIZE", strconv.Itoa(l.Size))
	if l.Cut != "" {
		t.row("CUT", leftOut(l.Cut)+", as the message was too large to keep; it cannot be replayed")
	}
	if err := t.flush(); err != nil {
		return err
	}
	return printMessage(out, &admin.Message{ID: l.MessageID, Topic: l.Topic, Header: l.Header, Body: l.Body}, false)
}

// leftOut says what a dead letter lacks.
func leftOut(cut string) string {
	if cut == "body" {
		return "header and body are left out"
	}
	return cut + " is left out"
}

func dlqReplayCommand(w world) *cobra.Command {
	var (
		f   adminFlags
		all bool
	)
	cmd := &cobra.Command{
		Use:   "replay ID...",
		Short: "Push dead letters to their service again, and to no other",
		Long: `replay pushes dead letters to the service that they were for, under the ID that
they had, once each. One that the service takes is no dead letter any more; one
that it does not take stays, and the status is 1.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("name the dead letters to replay, or give --all")
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			if all {
				list, err := c.DeadLetters(cmd.Context())
				if err != nil {
					return err
				}
				for _, l := range list.DeadLetters {
					args = append(args, l.ID)
				}
			}
			return replay(cmd.Context(), w, c, args)
		},
	}
	f.add(cmd, w)
	cmd.Flags().BoolVar(&all, "all", false, "replay all that are listed")
	return cmd
}

// replay replays dead letters one after the other, and says how each went.
func replay(ctx context.Context, w world, c *admin.Client, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	all, failed := 0, 0
	err := c.ReplayEach(ctx, ids, func(id string, err error) {
		all++
		if err != nil {
			failed++
			fmt.Fprintf(w.err, "%s: %s\n", printable(id), oneLine(err))
			return
		}
		fmt.Fprintln(w.out, printable(id), "replayed")
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case failed > 0:
		return fmt.Errorf("%d of %d dead letters stay", failed, all)
	}
	return nil
}
