// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/errors"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
)

// runAPIServer is what upstream's command does, on a listener that is already open and until ctx ends.
func runAPIServer(ctx context.Context, listener net.Listener, args []string) error {
	server := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range server.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	server.SecureServing.Listener = listener
	server.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	if err := server.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := server.Complete(ctx)
	if err != nil {
		return err
	}
	if found := completed.Validate(); len(found) != 0 {
		return errors.NewAggregate(found)
	}
	return apiserver.Run(ctx, completed)
}

// runControllers is what upstream's kube-controller-manager does, until ctx ends.
func runControllers(ctx context.Context, args []string) error {
	manager, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	all, disabled, aliases := controllers.KnownControllers(), controllers.ControllersDisabledByDefault(),
		controllers.ControllerAliases()
	flags := pflag.NewFlagSet("kube-controller-manager", pflag.ContinueOnError)
	named := manager.Flags(all, disabled, aliases)
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := manager.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	config, err := manager.Config(ctx, all, disabled, aliases)
	if err != nil {
		return err
	}
	return controllers.Run(ctx, config.Complete())
}
