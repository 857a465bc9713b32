// Fields of Calico's kinds that our schemas do not have yet (projectcalico/api v3, releases 3.28 to 3.34): a manifest that
// has one is right, so it is no typing error. A path goes from the spec down, without the numbers of a list.
import type { Kind } from './kinds.ts'

const NAMES: Partial<Record<Kind, string>> = {
  IPAMConfiguration: `
    ipCooldownSeconds kubeVirtVMAddressPersistence
  `,
  IPAMBlock: `
    affinityClaimTime attributes.alternateOwnerAttrs attributes.releasedAt
  `,
  BGPConfiguration: `
    bindMode ignoredInterfaces ipv4NormalRoutePriority ipv6NormalRoutePriority localWorkloadPeeringIPV4
    localWorkloadPeeringIPV6 nodeMeshPassword.secretKeyRef.optional programClusterRoutes serviceClusterIPs
    serviceExternalIPs serviceLoadBalancerAggregation serviceLoadBalancerIPs
  `,
  BGPPeer: `
    localWorkloadSelector password.secretKeyRef.optional reachableBy reversePeering
  `,
  FelixConfiguration: `
    allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads awsSrcDstCheck bpfAttachType bpfCTLBLogFilter
    bpfConnectTimeLoadBalancing bpfConnectTimeLoadBalancingEnabled bpfConntrackLogLevel bpfConntrackMode
    bpfConntrackTimeouts bpfDSROptoutCIDRs bpfDataIfacePattern bpfDisableGROForIfaces bpfDisableUnprivileged
    bpfEnabled bpfEnforceRPF bpfExcludeCIDRsFromNAT bpfExportBufferSizeMB bpfExtToServiceConnmark
    bpfExternalServiceMode bpfForceTrackPacketsFromIfaces bpfHostConntrackBypass bpfHostNetworkedNATWithoutCTLB
    bpfIPFragTimeout bpfIPFragmentReassemblyEnabled bpfJITHardening bpfKubeProxyHealthzPort
    bpfKubeProxyIptablesCleanupEnabled bpfKubeProxyMinSyncPeriod bpfL3IfacePattern bpfLogFilters bpfLogLevel
    bpfMaglevMaxEndpointsPerService bpfMaglevMaxServices bpfMapSizeConntrack bpfMapSizeConntrackCleanupQueue
    bpfMapSizeConntrackScaling bpfMapSizeIPSets bpfMapSizeIfState bpfMapSizeNATAffinity bpfMapSizeNATBackend
    bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack bpfMapSizeRoute bpfOverlayHostSourceIP bpfPSNATPorts
    bpfPolicyDebugEnabled bpfProfiling bpfRedirectToPeer cgroupV2Path chainInsertMode dataplaneDriver
    dataplaneWatchdogTimeout debugDisableLogDropping debugHost debugMemoryProfilePath debugPort
    debugSimulateCalcGraphHangAfter debugSimulateDataplaneApplyDelay debugSimulateDataplaneHangAfter
    defaultEndpointToHostAction deviceRouteSourceAddress deviceRouteSourceAddressIPv6 disableConntrackInvalidCheck
    endpointReportingDelay endpointReportingEnabled endpointStatusPathPrefix externalNodesList
    failsafeInboundHostPorts failsafeOutboundHostPorts featureDetectOverride featureGates floatingIPs
    flowLogsCollectorDebugTrace flowLogsFlushInterval flowLogsGoldmaneServer flowLogsLocalReporter
    flowLogsPolicyEvaluationMode genericXDPEnabled goGCThreshold goMaxProcs goMemoryLimitMB healthEnabled healthHost
    healthPort healthTimeoutOverrides interfaceExclude interfaceRefreshInterval ipForwarding ipipEnabled
    ipsetsRefreshInterval iptablesBackend iptablesFilterAllowAction iptablesFilterDenyAction
    iptablesLockProbeInterval iptablesMangleAllowAction iptablesMarkMask iptablesNATOutgoingInterfaceFilter
    iptablesPostWriteCheckInterval iptablesRefreshInterval ipv4ElevatedRoutePriority ipv4NormalRoutePriority
    ipv6ElevatedRoutePriority ipv6NormalRoutePriority ipv6Support istioAmbientMode istioDSCPMark kubeNodePortRanges
    liveMigrationRouteConvergenceTime localSubnetL2Reachability localSubnetL2ReachabilityRefreshInterval
    logActionRateLimit logActionRateLimitBurst logDebugFilenameRegex logFilePath logPrefix logSeverityFile
    logSeverityScreen logSeveritySys maxIpsetSize metadataAddr metadataPort mtuIfacePattern
    netlinkTimeout nftablesFilterAllowAction nftablesFilterDenyAction
    nftablesFlowTableDataIfacePattern nftablesFlowTableOffload nftablesMangleAllowAction nftablesMarkMask
    nftablesMode nftablesRefreshInterval nodeSelector openstackRegion policySyncPathPrefix programClusterRoutes
    prometheusGoMetricsEnabled prometheusMetricsCAFile prometheusMetricsCertFile prometheusMetricsClientAuth
    prometheusMetricsEnabled prometheusMetricsHost prometheusMetricsKeyFile prometheusMetricsPort
    prometheusProcessMetricsEnabled prometheusWireGuardMetricsEnabled reportingInterval reportingTTL requireMTUFile
    routeSource routeSyncDisabled routeTableRange routeTableRanges serviceLoopPrevention sidecarAccelerationEnabled
    usageReportingEnabled usageReportingInitialDelay usageReportingInterval useInternalDataplaneDriver vxlanEnabled
    vxlanMTUV6 windowsManageFirewallRules wireguardEnabled wireguardEnabledV6 wireguardHostEncryptionEnabled
    wireguardInterfaceName wireguardInterfaceNameV6 wireguardKeepAlive wireguardListeningPort
    wireguardListeningPortV6 wireguardMTU wireguardMTUV6 wireguardRoutingRulePriority wireguardThreadingEnabled
    workloadSourceSpoofing xdpEnabled xdpRefreshInterval
  `,
  ClusterInformation: `
    variant
  `,
  KubeControllersConfiguration: `
    controllers.loadBalancer.assignIPs controllers.migration.policyNameMigrator
    controllers.node.hostEndpoint.autoCreate controllers.node.hostEndpoint.createDefaultHostEndpoint
    controllers.node.hostEndpoint.templates
  `,
}

const FIELDS = new Map(Object.entries(NAMES).map(([kind, names]) => [kind, names.trim().split(/\s+/)]))

/** The paths of a kind, such as `bindMode` or `attributes.releasedAt`. */
export function calicoFields(kind: Kind): readonly string[] {
  return FIELDS.get(kind) ?? []
}
