package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is the version that a build outside a clone is given, with
// -ldflags "-X main.release=v1.2.3". Empty means that the build knows.
var release string //nolint:gochecknoglobals // the linker sets it

func versionCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		Run:   func(*cobra.Command, []string) { fmt.Fprintln(w.out, "goapi", version()) },
	}
}

// version says what the build knows of itself: the release or the module's
// version, the commit, and the toolchain.
func version() string {
	v, commit, dirty := "(devel)", "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				commit = " " + s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = " modified"
			}
		}
	}
	if release != "" {
		v = release
	}
	return fmt.Sprintf("%s%s%s %s %s/%s", v, commit, dirty, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
