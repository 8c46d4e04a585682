// SPDX-License-Identifier: Apache-2.0

// kubelite is a real Kubernetes control plane for integration tests, on loopback only: the unmodified
// upstream kube-apiserver, etcd, controllers of kube-controller-manager, and kubectl, linked from Go
// modules into one program. README.md says how it is started.
package main

import (
	"fmt"
	"os"
	"runtime"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const usage = `usage: kubelite COMMAND [FLAGS]

  up                  everything in one process; with "-- PROGRAM ARGUMENT..." for as long as that runs
  etcd                etcd alone, for tests of several processes
  apiserver           upstream's kube-apiserver with upstream's flags
  controller-manager  upstream's kube-controller-manager with upstream's flags
  kubectl             upstream's kubectl
  pki                 certificates, keys and kubeconfigs only
  cert                one more client certificate, and a kubeconfig with it
`

// What a signal on the parent's death is tied to is a thread: the main goroutine stays on the main one.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	command, args := os.Args[1], os.Args[2:]
	os.Args = os.Args[1:] // upstream's commands read os.Args[1:]
	switch command {
	case "up":
		os.Exit(cmdUp(args))
	case "etcd":
		os.Exit(cmdEtcd(args))
	case "apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kubectl":
		os.Exit(cmdKubectl())
	case "pki":
		os.Exit(cmdPKI(args))
	case "cert":
		os.Exit(cmdCert(args))
	case "help", "-h", "--help":
		fmt.Print(usage)
	default:
		fmt.Fprintf(os.Stderr, "kubelite: unknown command %q\n%s", command, usage)
		os.Exit(2)
	}
}

// fail reports on stderr and returns the exit code of a failure.
func fail(what any) int {
	fmt.Fprintln(os.Stderr, "kubelite:", what)
	return 1
}
