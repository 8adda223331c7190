variable "name" {
  description = "Name of the cluster, and the beginning of the names of its resources."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,26}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 28 lower-case letters, digits and '-', begin with a letter and not end with '-': names of load balancers are made from it."
  }
}

variable "vpc_id" {
  description = "VPC that the subnets of the brokers are in."
  type        = string
}

variable "brokers" {
  description = <<-EOT
    The brokers by node id. A broker keeps its id, address and data volume for life; changes of the instance itself wait until it is replaced.
      availability_zone  zone of the subnet, and of the data volume
      subnet_id          subnet of the network interface
      private_ip         fixed address; null: the subnet chooses one, which stays
      rack               null: the availability zone
      instance_type      null: that of var.instance_type
      instance_store     the log is on the NVMe disk of the instance, of which there must be one, and goes with it. Not for seeds
  EOT
  type = map(object({
    availability_zone = string
    subnet_id         = string
    private_ip        = optional(string)
    rack              = optional(string)
    instance_type     = optional(string)
    instance_store    = optional(bool, false)
  }))

  validation {
    condition     = length(var.brokers) > 0
    error_message = "brokers must have at least one broker."
  }
  validation {
    condition     = alltrue([for id in keys(var.brokers) : can(regex("^(0|[1-9][0-9]{0,9})$", id)) && try(tonumber(id) <= 2147483647, false)])
    error_message = "The keys of brokers are node ids: numbers from 0 to 2147483647 without leading zeros."
  }
  validation {
    condition     = alltrue([for b in var.brokers : b.private_ip == null || can(cidrhost("${b.private_ip}/32", 0))])
    error_message = "private_ip of a broker must be an IPv4 address."
  }
}

variable "seeds" {
  description = "Node ids of the brokers that run the embedded control plane: three or five of them, or one. It stays as it is for the life of the cluster. null: the first three by number; where there are fewer than three brokers, the first. Name it if the cluster starts with fewer than three and shall grow."
  type        = set(string)
  default     = null

  validation {
    condition     = var.seeds == null ? true : contains([1, 3, 5], length(var.seeds))
    error_message = "seeds must be one, three or five brokers: two need each other, which is worse than one."
  }
  validation {
    condition     = var.seeds == null ? true : length(setsubtract(var.seeds, keys(var.brokers))) == 0
    error_message = "seeds must be keys of brokers."
  }
  validation {
    condition     = var.seeds == null || var.external_control_plane == null
    error_message = "seeds and external_control_plane: the control plane is either external or run by the seeds; leave one of them out."
  }
}

variable "external_control_plane" {
  description = <<-EOT
    etcd and NATS outside of the brokers, in place of seeds.
      etcd         URLs of etcd
      nats         URLs of NATS servers
      cidr_blocks  networks in which they are: the brokers may reach any TCP port there
    Files and users for them go into var.process_settings, etcd-ca-file for instance.
  EOT
  type = object({
    etcd        = list(string)
    nats        = list(string)
    cidr_blocks = set(string)
  })
  default = null

  validation {
    condition     = var.external_control_plane == null ? true : length(var.external_control_plane.etcd) > 0 && alltrue([for u in var.external_control_plane.etcd : can(regex("^https?://[^/]+$", u))])
    error_message = "external_control_plane.etcd must be URLs such as https://etcd-1.example.com:2379."
  }
  validation {
    condition     = var.external_control_plane == null ? true : length(var.external_control_plane.nats) > 0 && alltrue([for u in var.external_control_plane.nats : can(regex("^(nats|tls)://[^/@]+$", u))])
    error_message = "external_control_plane.nats must be URLs such as nats://nats-1.example.com:4222, without a user: this goes into user data, which is no place for passwords."
  }
}

variable "instance_type" {
  description = "Instance type of the brokers; one of the Nitro system, of var.architecture."
  type        = string
  default     = "m6i.large"
}

variable "architecture" {
  description = "Of the instance type and of the binary: x86_64 or arm64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "ami_id" {
  description = "Image of the brokers: one with systemd 250 or newer, cloud-init, the AWS CLI and xfsprogs. null: the newest Amazon Linux 2023."
  type        = string
  default     = null
}

variable "placement_group" {
  description = "Name of a placement group for the instances, for brokers that share an availability zone."
  type        = string
  default     = null
}

variable "detailed_monitoring" {
  description = "Whether CloudWatch has figures of the instances every minute, for a price. The figures of the brokers are at /metrics anyway."
  type        = bool
  default     = false
}

variable "data_volume" {
  description = <<-EOT
    The gp3 volume of each broker. It outlives the instance.
      size_gib          may grow, not shrink; a broker takes the new size at its next start
      iops, throughput  operations a second; MiB a second
      kms_key_arn       key of the volume; null: the account's key for EBS
  EOT
  type = object({
    size_gib    = optional(number, 500)
    iops        = optional(number, 3000)
    throughput  = optional(number, 250)
    kms_key_arn = optional(string)
  })
  default = {}

  validation {
    condition     = var.data_volume.size_gib >= 10 && var.data_volume.size_gib <= 16384
    error_message = "data_volume.size_gib must be from 10 to 16384."
  }
  validation {
    condition     = var.data_volume.iops >= 3000 && var.data_volume.iops <= 16000 && var.data_volume.throughput >= 125 && var.data_volume.throughput <= 1000
    error_message = "data_volume.iops must be from 3000 to 16000, throughput from 125 to 1000 (MiB a second): the limits of gp3."
  }
}

variable "binary" {
  description = <<-EOT
    The varve binary for Linux, of var.architecture.
      url     https://HOST/PATH, or s3://BUCKET/KEY, which the brokers are then allowed to read
      sha256  of the file; anything else is not installed
  EOT
  type = object({
    url    = string
    sha256 = string
  })

  validation {
    condition     = can(regex("^(https://[^/ '\"]+|s3://[a-z0-9.-]+)/[^ '\"]+$", var.binary.url))
    error_message = "binary.url must be https://HOST/PATH or s3://BUCKET/KEY."
  }
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.binary.sha256))
    error_message = "binary.sha256 must be 64 hexadecimal digits, in lower case: the output of sha256sum."
  }
}

variable "bucket" {
  description = <<-EOT
    The bucket of the remote tier.
      name           name of the bucket
      create         false: it is there already, and how it is protected is up to you
      prefix         goes before every key
      kms_key_arn    key of the objects; null: the key of S3 itself
      force_destroy  whether terraform destroy deletes a bucket that has data
  EOT
  type = object({
    name          = string
    create        = optional(bool, true)
    prefix        = optional(string, "varve")
    kms_key_arn   = optional(string)
    force_destroy = optional(bool, false)
  })

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket.name))
    error_message = "bucket.name must be the name of an S3 bucket: 3 to 63 lower-case letters, digits, '.' and '-'."
  }
  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", var.bucket.prefix))
    error_message = "bucket.prefix must be letters, digits, '.', '_' and '-', with '/' between: the brokers may reach nothing outside of it."
  }
}

variable "s3_endpoint_route_table_ids" {
  description = "Route tables of the brokers' subnets that get a gateway endpoint for S3, so that the tier's traffic passes no NAT gateway. Empty: no endpoint is made."
  type        = list(string)
  default     = []
}

variable "tls" {
  description = <<-EOT
    TLS for clients, between brokers, for the control plane and for HTTP. null: none of them has it. Every value is the ARN of a secret of Secrets Manager or
    of a parameter of SSM that holds PEM text. A certificate names the host of its broker (output brokers), and the name of the load balancer if there is one.
      keystore_arns    by node id: private key (PKCS#8, not encrypted), certificate and chain
      truststore_arn   the authorities
      client_auth      ssl.client.auth: none, requested or required
      kms_key_arns     keys that these are encrypted with, other than the account's own
      refresh_minutes  how often a broker looks for new ones
  EOT
  type = object({
    keystore_arns   = map(string)
    truststore_arn  = string
    client_auth     = optional(string, "none")
    kms_key_arns    = optional(list(string), [])
    refresh_minutes = optional(number, 60)
  })
  default = null

  validation {
    condition     = var.tls == null ? true : length(setsubtract(keys(var.brokers), keys(var.tls.keystore_arns))) == 0
    error_message = "tls.keystore_arns must have every broker; they may share one."
  }
  validation {
    condition     = var.tls == null ? true : alltrue([for arn in concat(values(var.tls.keystore_arns), [var.tls.truststore_arn]) : can(regex("^arn:[a-z-]+:(secretsmanager|ssm):", arn))])
    error_message = "tls.keystore_arns and tls.truststore_arn must be ARNs of secrets of Secrets Manager or of parameters of SSM."
  }
  validation {
    condition     = var.tls == null ? true : contains(["none", "requested", "required"], var.tls.client_auth)
    error_message = "tls.client_auth must be none, requested or required."
  }
  validation {
    condition     = var.tls == null ? true : var.tls.refresh_minutes >= 1 && var.tls.refresh_minutes <= 1440
    error_message = "tls.refresh_minutes must be from 1 to 1440."
  }
}

variable "dns" {
  description = <<-EOT
    A Route 53 zone for the brokers' names, broker-ID.DOMAIN, by which clients and other brokers then reach them. null: they go by their addresses.
    To add or drop it later changes the addresses of the seeds: choose before the first apply.
  EOT
  type = object({
    zone_id = string
    domain  = string
  })
  default = null

  validation {
    condition     = var.dns == null ? true : can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.dns.domain))
    error_message = "dns.domain must be a domain name without a dot at its end, such as varve.internal.example.com."
  }
}

variable "bootstrap" {
  description = "What clients are given as bootstrap servers: addresses (every broker), dns (bootstrap.DOMAIN, which has all brokers' addresses) or nlb (an internal network load balancer; clients go on to the brokers themselves)."
  type        = string
  default     = "addresses"

  validation {
    condition     = contains(["addresses", "dns", "nlb"], var.bootstrap)
    error_message = "bootstrap must be addresses, dns or nlb."
  }
  validation {
    condition     = var.bootstrap != "dns" || var.dns != null
    error_message = "bootstrap = \"dns\" needs dns: a zone and a domain."
  }
}

variable "clients" {
  description = "Who may reach the Kafka port: security groups, under names of your choice, and networks."
  type = object({
    security_groups = optional(map(string), {})
    cidr_blocks     = optional(set(string), [])
  })
  default = {}
}

variable "monitoring" {
  description = "Who may reach the HTTP port (/metrics, /healthz, /readyz): security groups, under names of your choice, and networks."
  type = object({
    security_groups = optional(map(string), {})
    cidr_blocks     = optional(set(string), [])
  })
  default = {}
}

variable "settings" {
  description = "Broker configurations by Kafka's names, as docs/configuration.md has them. With three brokers or more min.insync.replicas is 2 unless it is here."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for k in keys(var.settings) : !can(regex("^(listeners|advertised\\.listeners|listener\\..*|inter\\.broker\\.listener\\.name|security\\.inter\\.broker\\.protocol|ssl\\.(keystore|truststore)\\..*|ssl\\.client\\.auth|node\\.id|broker\\.rack|log\\.dirs?)$", k))])
    error_message = "settings must not have listeners, listener.*, advertised.listeners, inter.broker.listener.name, security.inter.broker.protocol, ssl.keystore.*, ssl.truststore.*, ssl.client.auth, node.id, broker.rack or log.dirs: the module sets these from tls and brokers."
  }
}

variable "process_settings" {
  description = "Process settings by the names of their flags, etcd-ca-file for instance; not passwords: this goes into user data."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for k in keys(var.process_settings) : can(regex("^(etcd-(ca|cert|key)-file|etcd-user|nats-(creds|ca|cert|key)-file|http-client-ca-file)$", k))])
    error_message = "process_settings may have etcd-ca-file, etcd-cert-file, etcd-key-file, etcd-user, nats-creds-file, nats-ca-file, nats-cert-file, nats-key-file and http-client-ca-file; the module sets the others, and passwords do not belong into user data."
  }
}

variable "iam_policy_arns" {
  description = "More policies for the brokers' roles, under names of your choice; AmazonSSMManagedInstanceCore for instance, to log in by Session Manager."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether instances and the load balancer are protected from being deleted by others than Terraform. Data volumes are always protected, from Terraform too."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
