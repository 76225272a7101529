//go:build !unix

package main

import "os/exec"

// detach does nothing: there are no process groups.
func detach(*exec.Cmd) {}

// terminate ends the command: there is no way to ask it.
func terminate(cmd *exec.Cmd) { kill(cmd) }

// kill ends the command.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended by itself
}
