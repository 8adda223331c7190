variable "docker_host" {
  description = "Where the Docker engine listens."
  type        = string
  default     = "unix:///var/run/docker.sock"
}

variable "name" {
  description = "Beginning of the names of containers, volumes and the network."
  type        = string
  default     = "varve"
}

variable "image" {
  description = "Image of Varve that the engine has: `make image` builds it."
  type        = string
  default     = "varve:latest"
}

variable "s3_image" {
  description = "Image of the versitygw S3 server, with its binary as the entry point."
  type        = string
  default     = "versity/versitygw:v1.8.0"
}

variable "ports" {
  description = "Ports on this machine for the Kafka and HTTP addresses of the three brokers, by node id."
  type        = map(object({ kafka = number, http = number }))
  default = {
    "1" = { kafka = 9092, http = 9644 }
    "2" = { kafka = 9192, http = 9744 }
    "3" = { kafka = 9292, http = 9844 }
  }

  validation {
    condition     = contains([3, 5], length(var.ports))
    error_message = "ports must be for three or five brokers, all of which are seeds."
  }
}
